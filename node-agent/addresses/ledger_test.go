// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package addresses_test

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/selvage-net/selvage/node-agent/addresses"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func owned(cidr string) addresses.Range {
	return addresses.Range{Name: cidr, UID: cidr, Pool: "p", CIDR: netip.MustParsePrefix(cidr), Epoch: 1}
}

func key(n int) addresses.Key {
	return addresses.Key{Network: "net", Sandbox: fmt.Sprint(n), IfName: "eth0"}
}

// allocate fails the test unless the attachment gets just this one address.
func allocate(t *testing.T, l *addresses.Ledger, n int, want string) {
	t.Helper()
	got, err := l.Allocate(key(n), addresses.Request{})
	if err != nil || len(got) != 1 || got[0] != addr(want) {
		t.Fatalf("got %v, %v; expected %s", got, err, want)
	}
}

// TestEveryAddressOfTheRange: pods are routed each by itself, so the first and
// the last address are as good as any.
func TestEveryAddressOfTheRange(t *testing.T) {
	for _, cidr := range []string{"10.0.0.0/30", "10.0.0.7/32", "0.0.0.0/30", "255.255.255.252/30", "fd00::/126", "fd00::ffff:ffff:fffc/126", "::/126"} {
		l, p := addresses.NewLedger(), netip.MustParsePrefix(cidr)
		l.SetRanges([]addresses.Range{owned(cidr)})
		n := 0
		for a := p.Addr(); p.Contains(a); a = a.Next() {
			allocate(t, l, n, a.String())
			n++
		}
		if _, err := l.Allocate(key(n), addresses.Request{}); !addresses.IsExhausted(err) {
			t.Errorf("%s is full: got %v", cidr, err)
		}
	}
}

func TestFreedAddressIsTheLastToBeUsedAgain(t *testing.T) {
	l := addresses.NewLedger()
	l.SetRanges([]addresses.Range{owned("10.0.0.0/28")})
	allocate(t, l, 0, "10.0.0.0")
	for i := range 100 {
		l.Release(key(i))
		allocate(t, l, i+1, fmt.Sprintf("10.0.0.%d", (i+1)%16))
	}
}

// TestLaterRangesStayIdle: so that they can be given back.
func TestLaterRangesStayIdle(t *testing.T) {
	l := addresses.NewLedger()
	l.SetRanges([]addresses.Range{owned("10.0.1.0/28"), owned("10.0.0.0/28")})
	for i := range 14 {
		allocate(t, l, i, fmt.Sprintf("10.0.0.%d", i))
	}
	// Less than an eighth is left of the first: what it frees shall rest.
	allocate(t, l, 14, "10.0.0.14")
	allocate(t, l, 15, "10.0.1.0")
	for i := 16; i <= 30; i++ {
		if _, err := l.Allocate(key(i), addresses.Request{}); err != nil {
			t.Fatal(err)
		}
	}
	allocate(t, l, 31, "10.0.1.15")
	if _, err := l.Allocate(key(32), addresses.Request{}); !addresses.IsExhausted(err) {
		t.Errorf("both are full: got %v", err)
	}
	if l.Used("10.0.0.0/28") != 16 || l.Used("10.0.1.0/28") != 16 || l.Used("other") != 0 {
		t.Error("32 are used")
	}
}

func TestRestartSearchesAfterWhatIsInUse(t *testing.T) {
	l := addresses.NewLedger()
	l.Hold(key(0), []netip.Addr{addr("10.0.0.5")})
	l.SetRanges([]addresses.Range{owned("10.0.0.0/28")})
	allocate(t, l, 1, "10.0.0.6")
	l.Hold(key(2), []netip.Addr{addr("::ffff:10.0.0.9")})
	allocate(t, l, 3, "10.0.0.10")
}

// TestChangedRangeGoesOnWhereItWas: what was freed last is not used again first
// because something else about the range changed.
func TestChangedRangeGoesOnWhereItWas(t *testing.T) {
	l, r := addresses.NewLedger(), owned("10.0.0.0/28")
	l.SetRanges([]addresses.Range{r})
	for i := range 5 {
		allocate(t, l, i, fmt.Sprintf("10.0.0.%d", i))
	}
	for i := range 5 {
		l.Release(key(i))
	}
	r.Withheld = []netip.Addr{addr("10.0.0.5")}
	l.SetRanges([]addresses.Range{r, owned("10.1.0.0/28")})
	allocate(t, l, 6, "10.0.0.6")
}

func TestShrinkGoAndComeBack(t *testing.T) {
	l, whole := addresses.NewLedger(), owned("10.0.0.0/29")
	l.SetRanges([]addresses.Range{whole})
	for i := range 7 {
		allocate(t, l, i, fmt.Sprintf("10.0.0.%d", i))
	}
	// Asked back: the upper half empties, and nothing new goes there.
	keep, upper := netip.MustParsePrefix("10.0.0.0/30"), netip.MustParsePrefix("10.0.0.4/30")
	asked := whole
	asked.Keep = &keep
	l.SetRanges([]addresses.Range{asked})
	if _, err := l.Allocate(key(7), addresses.Request{}); !addresses.IsExhausted(err) {
		t.Errorf("10.0.0.7 is asked back: got %v", err)
	}
	if _, err := l.Allocate(key(7), addresses.Request{Want: []netip.Addr{addr("10.0.0.7")}}); !addresses.IsRefused(err) || !strings.Contains(err.Error(), "given back") {
		t.Errorf("10.0.0.7 is asked back: got %v", err)
	}
	for i := 4; i < 7; i++ {
		if l.Idle(upper) {
			t.Error("the upper half is not idle yet")
		}
		l.Release(key(i))
	}
	if !l.Idle(upper) || l.Idle(keep) || l.Used(whole.Name) != 4 {
		t.Error("the upper half is idle, the lower is not")
	}
	if got := l.Pools()["p"]; got != (addresses.PoolUse{Used: 4, Capacity: 4}) {
		t.Errorf("nothing may be handed out any more: %+v", got)
	}
	// Shrunk: the same range, smaller.
	small := owned("10.0.0.0/30")
	small.Name, small.UID = whole.Name, whole.UID
	l.SetRanges([]addresses.Range{small})
	l.Release(key(0))
	allocate(t, l, 10, "10.0.0.0")
	// Gone: what is held stays held, and is counted when it comes back.
	l.SetRanges(nil)
	if _, err := l.Allocate(key(11), addresses.Request{}); !addresses.IsExhausted(err) {
		t.Errorf("no range: got %v", err)
	}
	if got := l.Lookup(key(1)); len(got) != 1 || l.Idle(keep) {
		t.Errorf("key 1 still holds its address: got %v", got)
	}
	l.Release(key(1))
	l.SetRanges([]addresses.Range{small})
	allocate(t, l, 12, "10.0.0.1")
	if _, err := l.Allocate(key(13), addresses.Request{}); !addresses.IsExhausted(err) {
		t.Errorf("the rest was held all the time: got %v", err)
	}
}

func TestWithheldIsNeverGiven(t *testing.T) {
	l, r := addresses.NewLedger(), owned("10.0.0.0/30")
	r.Withheld = []netip.Addr{addr("10.0.0.0"), addr("10.0.0.2"), addr("192.0.2.1")}
	// It was in use before it was withheld: it does not come back when freed.
	l.Hold(key(9), []netip.Addr{addr("10.0.0.2")})
	l.SetRanges([]addresses.Range{r})
	if got := l.Pools()["p"]; got != (addresses.PoolUse{Used: 1, Capacity: 3}) {
		t.Errorf("got %+v", got)
	}
	l.Release(key(9))
	allocate(t, l, 1, "10.0.0.3")
	allocate(t, l, 2, "10.0.0.1")
	if _, err := l.Allocate(key(3), addresses.Request{}); !addresses.IsExhausted(err) {
		t.Errorf("the rest is withheld: got %v", err)
	}
	r.Withheld = r.Withheld[:1]
	l.SetRanges([]addresses.Range{r})
	allocate(t, l, 3, "10.0.0.2")
}

func TestAskedForByName(t *testing.T) {
	l, r := addresses.NewLedger(), owned("10.0.0.0/29")
	r.Withheld = []netip.Addr{addr("10.0.0.1")}
	l.SetRanges([]addresses.Range{r, owned("fd00::/126")})
	ask := func(n int, want ...netip.Addr) ([]netip.Addr, error) {
		return l.Allocate(key(n), addresses.Request{Want: want})
	}
	if got, err := ask(1, addr("10.0.0.4")); err != nil || !slices.Equal(got, []netip.Addr{addr("10.0.0.4"), addr("fd00::")}) {
		t.Errorf("got %v, %v", got, err)
	}
	for text, want := range map[string][]netip.Addr{
		"another pod has it":           {addr("10.0.0.4")},
		"reserved in range":            {addr("10.0.0.1")},
		"in no range":                  {addr("10.9.9.9")},
		"an interface gets one IPv4":   {addr("10.0.0.5"), addr("10.0.0.6")},
		"fd00:1:: was asked for, but":  {addr("10.0.0.5"), addr("fd00:1::")},
		"an interface gets one IPv6":   {addr("fd00::1"), addr("fd00::2")},
		"10.9.0.0 was asked for, but ": {addr("fd00::1"), addr("10.9.0.0")},
	} {
		if got, err := ask(2, want...); !addresses.IsRefused(err) || !strings.Contains(err.Error(), text) {
			t.Errorf("%v: got %v, %v; expected %q", want, got, err, text)
		}
	}
	if l.Release(key(2)) {
		t.Error("a refusal leaves nothing behind")
	}
	if _, err := ask(1, addr("10.0.0.5")); !addresses.IsRefused(err) || !strings.Contains(err.Error(), "10.0.0.4") {
		t.Errorf("another than what it has: got %v", err)
	}
	if _, err := ask(1, addr("fd00::")); err != nil {
		t.Errorf("what it has: got %v", err)
	}
}

// TestBothFamiliesOrNone: a pod of a dual-stack peer does not start with half
// of its addresses.
func TestBothFamiliesOrNone(t *testing.T) {
	l := addresses.NewLedger()
	l.SetRanges([]addresses.Range{owned("10.0.0.0/29"), owned("fd00::/127")})
	for i := range 2 {
		if got, err := l.Allocate(key(i), addresses.Request{}); err != nil || len(got) != 2 {
			t.Fatalf("got %v, %v", got, err)
		}
	}
	if _, err := l.Allocate(key(2), addresses.Request{}); !addresses.IsExhausted(err) || !strings.Contains(err.Error(), "IPv6") {
		t.Errorf("no IPv6 address is left: got %v", err)
	}
	if l.Used("10.0.0.0/29") != 2 {
		t.Error("the IPv4 address was not put back")
	}
	if got, err := l.Allocate(key(2), addresses.Request{Families: addresses.V4}); err != nil || len(got) != 1 {
		t.Errorf("got %v, %v", got, err)
	}
	l.SetRanges([]addresses.Range{owned("10.0.0.0/29")})
	if _, err := l.Allocate(key(3), addresses.Request{Families: addresses.V4 | addresses.V6}); !addresses.IsExhausted(err) || !strings.Contains(err.Error(), "IPv6") {
		t.Errorf("no IPv6 range is granted yet: got %v", err)
	}
}

func TestGateIsAskedEachTime(t *testing.T) {
	l, lapsed := addresses.NewLedger(), errors.New("the lease ran out 3s ago")
	l.SetRanges([]addresses.Range{owned("10.0.0.0/29")})
	var reason error
	l.SetGate(func() error { return reason })
	allocate(t, l, 0, "10.0.0.0")
	reason = lapsed
	if _, err := l.Allocate(key(1), addresses.Request{}); !addresses.IsSuspended(err) || !errors.Is(err, lapsed) {
		t.Errorf("got %v", err)
	}
	if err := l.Permit(); !addresses.IsSuspended(err) || !strings.Contains(err.Error(), "ran out") {
		t.Errorf("got %v", err)
	}
	reason = nil
	allocate(t, l, 1, "10.0.0.1")
}

// TestHeldTwice: a kernel that has one address twice is counted once, and the
// address is free when both are gone.
func TestHeldTwice(t *testing.T) {
	for _, rangeFirst := range []bool{true, false} {
		l := addresses.NewLedger()
		if rangeFirst {
			l.SetRanges([]addresses.Range{owned("10.0.0.0/32")})
		}
		for i := range 3 {
			l.Hold(key(i), []netip.Addr{addr("10.0.0.0"), addr("fd00::1"), addr("192.0.2.7"), {}})
		}
		l.SetRanges([]addresses.Range{owned("10.0.0.0/32")})
		for i := range 3 {
			if _, err := l.Allocate(key(9), addresses.Request{}); !addresses.IsExhausted(err) || l.Used("10.0.0.0/32") != 1 {
				t.Errorf("held %d times: got %v, %d used", 3-i, err, l.Used("10.0.0.0/32"))
			}
			l.Release(key(i))
		}
		allocate(t, l, 9, "10.0.0.0")
	}
}

func TestOverlappingRangesAreNotBothUsed(t *testing.T) {
	l := addresses.NewLedger()
	l.SetRanges([]addresses.Range{owned("10.0.0.0/31"), owned("10.0.0.0/30"), owned("10.0.0.2/31"), owned("10.0.0.4/32")})
	for i := range 5 {
		allocate(t, l, i, fmt.Sprintf("10.0.0.%d", i))
	}
	if got, err := l.Allocate(key(5), addresses.Request{}); !addresses.IsExhausted(err) {
		t.Errorf("got %v, %v", got, err)
	}
}

// TestHugeRangesTakeNoMemory: pages are made where addresses are used.
func TestHugeRangesTakeNoMemory(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	l := addresses.NewLedger()
	var ranges []addresses.Range
	for i := range 16 {
		ranges = append(ranges, owned(fmt.Sprintf("%d.0.0.0/8", 10+i)), owned(fmt.Sprintf("fd00:%d::/104", i)), owned(fmt.Sprintf("fd01:%d::/64", i)))
	}
	l.SetRanges(ranges)
	for i := range 1000 {
		if _, err := l.Allocate(key(i), addresses.Request{}); err != nil {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 8<<20 {
		t.Errorf("48 huge ranges and 1,000 attachments took %d bytes", used)
	}
	// Of more than 2^24 addresses only the first so many are used.
	last := addr("fd01::ff:ffff")
	if _, err := l.Allocate(key(1001), addresses.Request{Want: []netip.Addr{last}}); err != nil {
		t.Error(err)
	}
	if _, err := l.Allocate(key(1002), addresses.Request{Want: []netip.Addr{last.Next()}}); !addresses.IsRefused(err) {
		t.Errorf("got %v", err)
	}
	runtime.KeepAlive(l)
}

// TestConcurrent is for the race detector, and shows that no two hold one.
func TestConcurrent(t *testing.T) {
	l := addresses.NewLedger()
	l.SetRanges([]addresses.Range{owned("10.0.0.0/24")})
	var owner [256]sync.Mutex
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 500 {
				k := addresses.Key{Network: fmt.Sprint(w), Sandbox: fmt.Sprint(i)}
				got, err := l.Allocate(k, addresses.Request{})
				if err != nil {
					t.Error(err)
					return
				}
				n := got[0].As4()[3]
				if !owner[n].TryLock() {
					t.Errorf("%s is held twice", got[0])
					return
				}
				if i%50 == 0 {
					l.SetRanges([]addresses.Range{owned("10.0.0.0/24"), owned(fmt.Sprintf("10.1.%d.0/24", w))})
					l.SetRanges([]addresses.Range{owned("10.0.0.0/24")})
				}
				owner[n].Unlock()
				l.Release(k)
			}
		})
	}
	wg.Wait()
}

// An attachment of IPv6 alone is still there after the kernel has told of it
// once more, as it does whenever an agent reads everything in again.
func TestHoldAgainIPv6Only(t *testing.T) {
	l := addresses.NewLedger()
	six, k := owned("fd00::/126"), key(1)
	l.SetRanges([]addresses.Range{six})
	got, err := l.Allocate(k, addresses.Request{Families: addresses.V6})
	if err != nil {
		t.Fatal(err)
	}
	l.Hold(k, got)
	if had := l.Lookup(k); !slices.Equal(had, got) {
		t.Errorf("it has %v, expected %v", had, got)
	}
	if !l.Release(k) || !l.Idle(six.CIDR) {
		t.Errorf("%v leaked: the range is not idle after the release", got)
	}
}
