// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func sampleRecord() Record {
	return Record{
		InstanceID: "7f0c8a52-5b0e-4e0e-9a83-6d2f5d3f7a10", PeerUID: "uid-1", NodeUID: "node-1", Acknowledged: 2,
		Fenced: []string{"uid-0"}, Machine: Fingerprint{DMI: "d", NICs: []string{"02:00:00:00:00:01"}}, HostRanges: []string{"r1"},
		Ranges: map[string]RangeRecord{
			"r1": {Name: "10.32.0.0", CIDR: netip.MustParsePrefix("10.32.0.0/14"), Epoch: 3, Owned: true},
			"r2": {Name: "fd00", CIDR: netip.MustParsePrefix("fd00::/120"), Epoch: 1, Owned: true, GivenBack: true},
		},
	}
}

// What equal leaves out would not be written to disk.
func TestRecordEqual(t *testing.T) {
	differ := func(what string, change func(*Record)) {
		r := sampleRecord()
		r.Runs = []string{"run-1"}
		if !r.clone().equal(r) {
			t.Fatal("a copy is another record")
		}
		other := r.clone()
		change(&other)
		if other.equal(r) {
			t.Errorf("%s makes no difference", what)
		}
	}
	for i := range reflect.TypeFor[Record]().NumField() {
		field := reflect.TypeFor[Record]().Field(i).Name
		if field == "Machine" {
			continue
		}
		differ(field, func(r *Record) { reflect.ValueOf(r).Elem().Field(i).SetZero() })
	}
	for i := range reflect.TypeFor[Fingerprint]().NumField() {
		differ("Machine", func(r *Record) { reflect.ValueOf(&r.Machine).Elem().Field(i).SetZero() })
	}
	differ("a range", func(r *Record) { r.Ranges["r1"] = RangeRecord{Name: "10.32.0.0", Epoch: 4, Owned: true} })
}

func TestRecordRoundTrip(t *testing.T) {
	want := sampleRecord()
	data, err := want.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseRecord(data)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	if owned := got.Owned(); len(owned) != 1 || owned[0].String() != "10.32.0.0/14" {
		t.Errorf("owned %v: what was given back is not", owned)
	}
}

// Any one bit of damage is seen, and any cut.
func TestRecordDamage(t *testing.T) {
	data, err := sampleRecord().Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for i := range data {
		for bit := range 8 {
			damaged := append([]byte{}, data...)
			damaged[i] ^= 1 << bit
			if got, err := ParseRecord(damaged); err == nil && !reflect.DeepEqual(got, sampleRecord()) {
				t.Fatalf("byte %d, bit %d: read as %+v", i, bit, got)
			} else if err != nil && !IsCorrupt(err) && !errors.Is(err, errNewer) {
				t.Fatalf("byte %d, bit %d: %v", i, bit, err)
			}
		}
		if _, err := ParseRecord(data[:i]); !IsCorrupt(err) {
			t.Fatalf("cut to %d bytes: %v", i, err)
		}
	}
}

// What a newer version wrote is refused, whatever it is: it is not damaged, and
// this version would forget what it does not know.
func TestRecordOfANewerVersion(t *testing.T) {
	data, err := sampleRecord().Marshal()
	if err != nil {
		t.Fatal(err)
	}
	newer := bytes.Replace(data, []byte("selvage-identity/1 "), []byte("selvage-identity/2 "), 1)
	if _, err := ParseRecord(newer); !errors.Is(err, errNewer) || IsCorrupt(err) {
		t.Errorf("%v", err)
	}
	if _, err := ParseRecord([]byte("selvage-identity/2\nanything")); !errors.Is(err, errNewer) {
		t.Errorf("%v", err)
	}
	for _, head := range []string{"selvage-identity/0 ", "selvage-identity/ ", "selvage-identity/x ", "selvage-identity/-2 ", "another/2 "} {
		if _, err := ParseRecord(bytes.Replace(data, []byte("selvage-identity/1 "), []byte(head), 1)); !IsCorrupt(err) {
			t.Errorf("%q: %v", head, err)
		}
	}
}

func FuzzParseRecord(f *testing.F) {
	data, err := sampleRecord().Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte{})
	f.Add([]byte("selvage-identity/1 crc32c=00000000\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		record, err := ParseRecord(data)
		if err != nil {
			if !IsCorrupt(err) {
				t.Fatal(err)
			}
			return
		}
		again, err := record.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ParseRecord(again); err != nil || !reflect.DeepEqual(got, record) {
			t.Fatalf("%+v became %+v (%v)", record, got, err)
		}
	})
}

// FuzzRecordBody is the same behind a checksum that is right, which no fuzzer
// finds.
func FuzzRecordBody(f *testing.F) {
	data, err := sampleRecord().Marshal()
	if err != nil {
		f.Fatal(err)
	}
	_, body, _ := bytes.Cut(data, []byte("\n"))
	f.Add(body)
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, body []byte) {
		head := fmt.Appendf(nil, "%s%08x\n", recordHeader, crc32.Checksum(body, castagnoli))
		record, err := ParseRecord(append(head, body...))
		if err != nil {
			if !IsCorrupt(err) {
				t.Fatal(err)
			}
			return
		}
		record.clone().Owned()
		again, err := record.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseRecord(again); err != nil {
			t.Fatalf("%+v: %v", record, err)
		}
	})
}

func TestRecordBounds(t *testing.T) {
	r := Record{}.clone()
	for i := range maxFenced + 5 {
		r.fence(strings.Repeat("x", i+1))
	}
	if len(r.Fenced) != maxFenced || !r.IsFenced(strings.Repeat("x", maxFenced+5)) || r.IsFenced("x") {
		t.Errorf("fenced: %d", len(r.Fenced))
	}
	for i := range maxFormer + 5 {
		r.Ranges[strings.Repeat("y", i+1)] = RangeRecord{CIDR: netip.MustParsePrefix("10.0.0.0/24"), Epoch: int64(i)}
	}
	r.Ranges["mine"] = RangeRecord{CIDR: netip.MustParsePrefix("10.0.1.0/24"), Owned: true}
	r.trim()
	if _, mine := r.Ranges["mine"]; !mine || len(r.Ranges) != maxFormer+1 {
		t.Errorf("%d ranges, mine %v", len(r.Ranges), mine)
	}
}

func TestStore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	s, err := OpenStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenStore(dir); !errors.Is(err, ErrRunning) {
		t.Errorf("a second opening: %v", err)
	}
	if r := s.Record(); r.Joined() || r.InstanceID != "" {
		t.Errorf("a new machine: %+v", r)
	}
	want := sampleRecord()
	if err := s.Update(func(r *Record) { *r = want.clone() }); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, err = OpenStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	got := s.Record()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
	got.Ranges["r1"] = RangeRecord{} // a copy
	if !reflect.DeepEqual(s.Record(), want) {
		t.Error("a copy is not one")
	}
	if err := s.Wipe(); err != nil {
		t.Fatal(err)
	}
	if r := s.Record(); r.Joined() {
		t.Errorf("wiped: %+v", r)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// A failed write leaves the record as it was, on disk and in memory.
func TestStoreFailure(t *testing.T) {
	dir := t.TempDir()
	s, err := OpenStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := sampleRecord()
	if err := s.Update(func(r *Record) { *r = want.clone() }); err != nil {
		t.Fatal(err)
	}
	// A directory in its place: the rename fails, for root too.
	if err := errors.Join(os.Rename(s.disk.String(), s.disk.String()+".kept"), os.Mkdir(s.disk.String(), 0o700)); err != nil {
		t.Fatal(err)
	}
	if err := s.Update(func(r *Record) { r.PeerUID = "another" }); err == nil {
		t.Fatal("a write that failed was not seen")
	}
	if !reflect.DeepEqual(s.Record(), want) {
		t.Errorf("in memory: %+v", s.Record())
	}
	left, err := filepath.Glob(filepath.Join(dir, ".identity.*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenStore(dir); err == nil {
		t.Error("an identity that cannot be read was taken for none")
	}
}

func TestFingerprint(t *testing.T) {
	a := Fingerprint{DMI: "a", NICs: []string{"1", "2"}}
	for _, c := range []struct {
		other Fingerprint
		same  bool
	}{
		{a, true},
		{Fingerprint{DMI: "a", NICs: []string{"2", "3"}}, true}, // one card replaced
		{Fingerprint{DMI: "a", NICs: []string{"3"}}, false},
		{Fingerprint{DMI: "b", NICs: []string{"1", "2"}}, false},
		{Fingerprint{NICs: []string{"1"}}, true}, // firmware without a uuid
		{Fingerprint{DMI: "a"}, true},
		{Fingerprint{DMI: "b"}, false},
	} {
		if got := a.Same(c.other); got != c.same || c.other.Same(a) != c.same {
			t.Errorf("%+v and %+v: %v", a, c.other, got)
		}
	}
}
