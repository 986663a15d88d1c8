// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"net/netip"
	"slices"
	"strconv"
)

const (
	recordFormat = "selvage-identity/"
	// recordVersion rises when an agent of before would lose what it must not
	// lose: it ignores fields that it does not know, and writes none of them.
	recordVersion = 1
)

// recordHeader begins the file; the checksum of the rest of it follows.
var recordHeader = fmt.Sprintf("%s%d crc32c=", recordFormat, recordVersion)

const (
	maxRecordBytes = 4 << 20
	// maxFenced bounds the incarnations remembered as fenced. Only that of
	// the present instanceID can ever be met again.
	maxFenced = 32
	// maxRuns bounds the runs remembered.
	maxRuns = 16
	// maxFormer bounds the epochs remembered of ranges owned formerly.
	maxFormer = 1024
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Record is what a machine's disk remembers of its membership. No address is
// in it: the kernel is the record of what is in use.
type Record struct {
	// InstanceID is minted here, and durable before it is in the API.
	InstanceID string `json:"instanceID,omitempty"`
	// PeerUID is the incarnation joined, NodeUID the Node at that time.
	PeerUID string `json:"peerUID,omitempty"`
	NodeUID string `json:"nodeUID,omitempty"`
	// Acknowledged is the Peer's generation that asks for a removal of PeerUID
	// that has been, or is about to be, acknowledged; 0: there is none.
	Acknowledged int64 `json:"acknowledged,omitempty"`
	// Fenced are incarnations that were removed: never resumed, whatever the
	// API says.
	Fenced []string `json:"fenced,omitempty"`
	// Runs are the last ones that may have held the Lease, the present one
	// included.
	Runs []string `json:"runs,omitempty"`
	// Machine is where all this was written.
	Machine Fingerprint `json:"machine,omitzero"`
	// Ranges are those owned now and formerly, by the AddressRange's uid.
	Ranges map[string]RangeRecord `json:"ranges,omitempty"`
	// HostRanges are the uids of the ranges whose first address is the
	// host's own, at most one of each family.
	HostRanges []string `json:"hostRanges,omitempty"`
}

// RangeRecord is what is remembered of a range.
// Invariant: Epoch never falls.
type RangeRecord struct {
	Name  string       `json:"name"`
	CIDR  netip.Prefix `json:"cidr"`
	Epoch int64        `json:"epoch"`
	// Owned: it was mine in that epoch. Otherwise it is remembered so that an
	// older epoch is not believed again.
	Owned bool `json:"owned,omitempty"`
	// GivenBack: all of it was sealed, so that it may vanish.
	GivenBack bool `json:"givenBack,omitempty"`
}

// Joined reports whether an incarnation was joined and not left behind.
func (r Record) Joined() bool { return r.PeerUID != "" }

// IsFenced reports whether that incarnation was removed.
func (r Record) IsFenced(peerUID string) bool {
	return peerUID != "" && slices.Contains(r.Fenced, peerUID)
}

// Owned are the CIDRs owned when last seen.
func (r Record) Owned() []netip.Prefix {
	var owned []netip.Prefix
	for _, held := range r.Ranges {
		if held.Owned && !held.GivenBack {
			owned = append(owned, held.CIDR)
		}
	}
	return owned
}

// clone is deep.
func (r Record) clone() Record {
	r.Fenced = slices.Clone(r.Fenced)
	r.HostRanges = slices.Clone(r.HostRanges)
	r.Runs = slices.Clone(r.Runs)
	r.Machine.NICs = slices.Clone(r.Machine.NICs)
	ranges := make(map[string]RangeRecord, len(r.Ranges))
	for uid, held := range r.Ranges {
		ranges[uid] = held
	}
	r.Ranges = ranges
	return r
}

// equal reports whether both say the same. It is asked for at every look at
// the cluster, which reflection would make dear.
func (r Record) equal(other Record) bool {
	return r.InstanceID == other.InstanceID && r.PeerUID == other.PeerUID && r.NodeUID == other.NodeUID &&
		r.Acknowledged == other.Acknowledged && slices.Equal(r.Fenced, other.Fenced) && slices.Equal(r.Runs, other.Runs) &&
		r.Machine.DMI == other.Machine.DMI && slices.Equal(r.Machine.NICs, other.Machine.NICs) &&
		maps.Equal(r.Ranges, other.Ranges) && slices.Equal(r.HostRanges, other.HostRanges)
}

// fence marks an incarnation as removed.
func (r *Record) fence(peerUID string) {
	if peerUID == "" || r.IsFenced(peerUID) {
		return
	}
	r.Fenced = append(r.Fenced, peerUID)
	if extra := len(r.Fenced) - maxFenced; extra > 0 {
		r.Fenced = slices.Delete(r.Fenced, 0, extra)
	}
}

// ran notes a run, and returns those before it.
func (r *Record) ran(run string) (former []string) {
	if n := len(r.Runs); n == 0 || r.Runs[n-1] != run {
		r.Runs = append(r.Runs, run)
	}
	r.Runs = r.Runs[max(0, len(r.Runs)-maxRuns):]
	return r.Runs[:len(r.Runs)-1]
}

// begin forgets all but fenced incarnations and epochs: a new instance.
func (r *Record) begin(instanceID string, machine Fingerprint) {
	r.InstanceID, r.PeerUID, r.NodeUID, r.Acknowledged = instanceID, "", "", 0
	r.Machine, r.HostRanges = machine, nil
	for uid, held := range r.Ranges {
		held.Owned = false
		r.Ranges[uid] = held
	}
	r.trim()
}

// trim forgets the lowest epochs of former ranges beyond maxFormer.
func (r *Record) trim() {
	var former []string
	for uid, held := range r.Ranges {
		if !held.Owned {
			former = append(former, uid)
		}
	}
	if len(former) <= maxFormer {
		return
	}
	slices.SortFunc(former, func(a, b string) int {
		return int(min(1, max(-1, r.Ranges[a].Epoch-r.Ranges[b].Epoch)))
	})
	for _, uid := range former[:len(former)-maxFormer] {
		delete(r.Ranges, uid)
	}
}

// Marshal renders the record with a checksum.
func (r Record) Marshal() ([]byte, error) {
	body, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("rendering the identity record: %w", err)
	}
	body = append(body, '\n')
	head := fmt.Appendf(nil, "%s%08x\n", recordHeader, crc32.Checksum(body, castagnoli))
	return append(head, body...), nil
}

// errCorrupt answers "is this file damaged?".
var errCorrupt = errors.New("the file is damaged")

// IsCorrupt reports whether err says that a record is damaged, rather than
// absent or unreadable.
func IsCorrupt(err error) bool { return errors.Is(err, errCorrupt) }

// errNewer answers "was this file written by a newer version?".
var errNewer = errors.New("the file was written by a newer version of the agent")

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errCorrupt, fmt.Sprintf(format, args...))
}

// ParseRecord reads what Marshal wrote. Whatever else it finds is an error: a
// damaged record is never taken for an empty one.
func ParseRecord(data []byte) (Record, error) {
	if len(data) > maxRecordBytes {
		return Record{}, corrupt("%d bytes, more than any identity record has", len(data))
	}
	head, body, found := bytes.Cut(data, []byte("\n"))
	sum, ours := bytes.CutPrefix(head, []byte(recordHeader))
	if version := formatOf(head); found && version > recordVersion {
		return Record{}, fmt.Errorf("%w: its format is %d, and this one reads %d", errNewer, version, recordVersion)
	}
	if !found || !ours {
		return Record{}, corrupt("it does not begin with %q", recordHeader)
	}
	want, err := strconv.ParseUint(string(sum), 16, 32)
	if err != nil || len(sum) != 8 {
		return Record{}, corrupt("checksum %q", sum)
	}
	if got := crc32.Checksum(body, castagnoli); got != uint32(want) {
		return Record{}, corrupt("its checksum is %08x, not %08x", got, want)
	}
	var r Record
	if err := json.Unmarshal(body, &r); err != nil {
		return Record{}, corrupt("%v", err)
	}
	if err := r.check(); err != nil {
		return Record{}, err
	}
	return r, nil
}

// formatOf is the version that a record's first line names; 0: none.
func formatOf(head []byte) int {
	rest, ours := bytes.CutPrefix(head, []byte(recordFormat))
	number, _, _ := bytes.Cut(rest, []byte(" "))
	version, err := strconv.Atoi(string(number))
	if !ours || err != nil {
		return 0
	}
	return version
}

func (r Record) check() error {
	if r.InstanceID == "" && (r.PeerUID != "" || r.Acknowledged != 0) {
		return corrupt("it names an incarnation, but no instanceID")
	}
	if r.Acknowledged < 0 {
		return corrupt("it has acknowledged generation %d", r.Acknowledged)
	}
	for uid, held := range r.Ranges {
		if uid == "" || !held.CIDR.IsValid() || held.CIDR != held.CIDR.Masked() || held.Epoch < 0 {
			return corrupt("range %q is %s in epoch %d", uid, held.CIDR, held.Epoch)
		}
	}
	return nil
}
