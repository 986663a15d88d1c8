// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package cniserver_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/selvage-net/selvage/node-agent/addresses"
	"github.com/selvage-net/selvage/node-agent/cniserver"
	"github.com/selvage-net/selvage/node-agent/cniserver/wire"
	"github.com/selvage-net/selvage/node-agent/datapath"
)

// must fails the test unless the call succeeds.
func must(t *testing.T, s *server, r wire.Request) string {
	t.Helper()
	reply := s.Handle(r)
	if reply.Exit != 0 {
		t.Fatalf("%s: %s", r.Command, reply.Stdout)
	}
	return string(reply.Stdout)
}

// refuse fails the test unless the call fails with the code and the text.
func refuse(t *testing.T, s *server, r wire.Request, code uint, text string) {
	t.Helper()
	reply := s.Handle(r)
	var e struct {
		CNIVersion string
		Code       uint
		Msg        string
		Details    string
	}
	if err := json.Unmarshal(reply.Stdout, &e); err != nil || reply.Exit == 0 {
		t.Fatalf("%s: exit %d, %q: %v", r.Command, reply.Exit, reply.Stdout, err)
	}
	if e.Code != code || !strings.Contains(e.Msg+e.Details, text) || e.CNIVersion == "" {
		t.Errorf("%s: got %s, expected code %d and %q", r.Command, reply.Stdout, code, text)
	}
}

func (s *server) expect(t *testing.T, held, links int) {
	t.Helper()
	if got := len(s.ledger.Keys()); got != held {
		t.Errorf("%d attachments hold addresses, expected %d", got, held)
	}
	if got := len(s.kernel.links); got != links {
		t.Errorf("%d links, expected %d", got, links)
	}
}

func TestAddFailureLeavesNothingBehind(t *testing.T) {
	s := newServer(t)
	s.kernel.attachErr = errKernel
	refuse(t, s, request("ADD", "a"), 11, "the kernel said no")
	s.expect(t, 0, 0)
	s.kernel.attachErr = nil
	gone := request("ADD", "a")
	gone.NetNS = "/gone"
	refuse(t, s, gone, 3, "/gone is gone")
	s.expect(t, 0, 0)
}

func TestFailedRepetitionFreesNothing(t *testing.T) {
	s := newServer(t)
	first := must(t, s, request("ADD", "a"))
	s.kernel.attachErr = errKernel
	refuse(t, s, request("ADD", "a"), 11, "the kernel said no")
	s.expect(t, 1, 1)
	s.kernel.attachErr = nil
	s.ledger.SetGate(func() error { return errors.New("the lease ran out") })
	refuse(t, s, request("ADD", "a"), 11, "the lease ran out")
	s.expect(t, 1, 1)
	s.ledger.SetGate(nil)
	if again := must(t, s, request("ADD", "a")); again != first {
		t.Errorf("got %s, first %s", again, first)
	}
}

// TestLeaseThatEndsMeanwhile: the interface is made while the lease runs out.
func TestLeaseThatEndsMeanwhile(t *testing.T) {
	s := newServer(t)
	var over error
	s.ledger.SetGate(func() error { return over })
	s.kernel.attached = func() { over = errors.New("the lease ran out") }
	refuse(t, s, request("ADD", "a"), 11, "the lease ran out")
	s.expect(t, 0, 0)

	over, s.kernel.attached = nil, nil
	must(t, s, request("ADD", "a"))
	s.kernel.attached = func() { over = errors.New("the lease ran out") }
	refuse(t, s, request("ADD", "a"), 11, "the lease ran out")
	s.expect(t, 1, 1)

	over = nil
	s.kernel.detachErr = errKernel
	refuse(t, s, request("ADD", "b"), 11, "the lease ran out")
	s.expect(t, 2, 2) // what cannot be detached keeps its address
}

func TestDelFreesOnlyWhatIsCutOff(t *testing.T) {
	s := newServer(t)
	must(t, s, request("ADD", "a"))
	s.kernel.detachErr = errKernel
	refuse(t, s, request("DEL", "a"), 11, "the kernel said no")
	s.expect(t, 1, 1)
	s.kernel.detachErr = nil
	closed := errors.New("fenced")
	s.ledger.SetGate(func() error { return closed })
	for range 2 {
		if out := must(t, s, request("DEL", "a")); out != "" {
			t.Errorf("DEL prints %q", out)
		}
	}
	s.expect(t, 0, 0)
}

func TestGone(t *testing.T) {
	s := newServer(t)
	must(t, s, request("ADD", "a"))
	late := datapath.Attachment{Network: "net", Sandbox: "a", IfName: "eth0"}
	s.Gone(late) // made anew since: the news is about another link
	s.expect(t, 1, 1)
	delete(s.kernel.links, keyOf("a"))
	s.Gone(late)
	s.Gone(late)
	s.expect(t, 0, 0)
}

func TestCheck(t *testing.T) {
	s := newServer(t)
	check := request("CHECK", "a")
	refuse(t, s, check, 7, "prevResult")
	prev := strings.TrimSpace(must(t, s, request("ADD", "a")))
	check.Stdin = []byte(`{"cniVersion":"1.1.0","name":"net","prevResult":` + prev + `}`)
	must(t, s, check)
	s.kernel.checkErr = errKernel
	refuse(t, s, check, 101, "the kernel said no")
	s.kernel.checkErr = nil
	other := check
	other.Stdin = []byte(`{"cniVersion":"1.1.0","name":"net","prevResult":{"cniVersion":"1.1.0","ips":[{"address":"10.9.9.9/32"}]}}`)
	refuse(t, s, other, 101, "10.0.0.0, which prevResult does not list")
	delete(s.kernel.links, keyOf("a"))
	refuse(t, s, check, 3, "link")
	s.ledger.Release(keyOf("a"))
	refuse(t, s, check, 3, "is known here")
}

func TestCollectsOnlyWhatIsNotListed(t *testing.T) {
	s := newServer(t)
	for _, id := range []string{"a", "b", "c"} {
		must(t, s, request("ADD", id))
	}
	other := request("ADD", "d")
	other.Stdin = []byte(`{"cniVersion":"1.1.0","name":"other"}`)
	must(t, s, other)
	collect := request("GC", "")
	refuse(t, s, collect, 7, "valid-attachments")
	s.expect(t, 4, 4)
	collect.Stdin = []byte(`{"cniVersion":"1.1.0","name":"net","cni.dev/valid-attachments":[{"containerID":"b","ifname":"eth0"},{"containerID":"a","ifname":"net1"}]}`)
	must(t, s, collect)
	s.expect(t, 2, 2)
	if s.ledger.Lookup(keyOf("b")) == nil {
		t.Error("b is listed, and was removed")
	}
	collect.Stdin = []byte(`{"cniVersion":"1.1.0","name":"net","cni.dev/valid-attachments":[]}`)
	s.kernel.detachErr = errKernel
	refuse(t, s, collect, 11, "the kernel said no")
	s.kernel.detachErr = nil
	must(t, s, collect)
	s.expect(t, 1, 1)
}

func TestStatus(t *testing.T) {
	var health error
	s := newServer(t, func(c *cniserver.Config) { c.Health = func() error { return health } })
	must(t, s, request("STATUS", ""))
	health = errors.New("this peer is fenced: it has been removed")
	refuse(t, s, request("STATUS", ""), 50, "fenced")
	s.ledger.SetGate(func() error { return errors.New("the lease ran out") })
	health = nil
	must(t, s, request("STATUS", "")) // an outage takes no node out of service
	must(t, newServer(t), request("STATUS", ""))
}

// TestFamilies: a dual-stack peer that waits for its IPv6 range starts no pod
// with half of its addresses.
func TestFamilies(t *testing.T) {
	s := newServer(t, func(c *cniserver.Config) {
		c.Families = func() addresses.Families { return addresses.V4 | addresses.V6 }
	})
	refuse(t, s, request("ADD", "a"), 11, "no range of IPv6")
	s.expect(t, 0, 0)
}

// TestAfterAnotherPlugin: what plugins before this one did stays in the result.
func TestAfterAnotherPlugin(t *testing.T) {
	s := newServer(t)
	r := request("ADD", "a")
	r.Stdin = []byte(`{"cniVersion":"1.0.0","name":"net","dns":{"nameservers":["10.96.0.10"]},"prevResult":{"cniVersion":"1.0.0",
		"interfaces":[{"name":"first0","sandbox":"/run/netns/a"}],"ips":[{"interface":0,"address":"192.0.2.1/24"}]}}`)
	var got struct {
		CNIVersion string
		Interfaces []struct{ Name, Sandbox string }
		IPs        []struct {
			Interface int
			Address   netip.Prefix
		}
		DNS struct{ Nameservers []string }
	}
	if err := json.Unmarshal([]byte(must(t, s, r)), &got); err != nil {
		t.Fatal(err)
	}
	if got.CNIVersion != "1.0.0" || len(got.Interfaces) != 3 || got.Interfaces[0].Name != "first0" || got.Interfaces[2].Name != "eth0" ||
		len(got.IPs) != 2 || got.IPs[0].Interface != 0 || got.IPs[1].Interface != 2 || got.IPs[1].Address.String() != "10.0.0.0/32" ||
		len(got.DNS.Nameservers) != 1 {
		t.Errorf("got %+v", got)
	}
}

func TestPodIsRecorded(t *testing.T) {
	s := newServer(t)
	must(t, s, request("ADD", "a"))
	if got := s.kernel.links[keyOf("a")].Pod; got != "default/a" {
		t.Errorf("got %q", got)
	}
	r := request("ADD", "b")
	r.Args = "IP=10.0.0.3"
	if out := must(t, s, r); !strings.Contains(out, "10.0.0.3/32") {
		t.Errorf("got %s", out)
	}
	r = request("ADD", "c")
	r.Args = "IP=10.0.0.256"
	refuse(t, s, r, 4, "not an address")
}

// TestOneAtATime: calls about one attachment take turns, others do not wait.
func TestOneAtATime(t *testing.T) {
	s := newServer(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 50 {
				id := fmt.Sprint(i % 3)
				s.Handle(request("ADD", id))
				s.Gone(datapath.Attachment{Network: "net", Sandbox: id, IfName: "eth0"})
				s.Handle(request("DEL", id))
			}
		})
	}
	wg.Wait()
	for id := range 3 {
		must(t, s, request("DEL", fmt.Sprint(id)))
	}
	s.expect(t, 0, 0)
}

func TestMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	metrics, err := cniserver.NewMetrics(registry)
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(t, func(c *cniserver.Config) { c.Metrics = metrics })
	must(t, s, request("ADD", "a"))
	must(t, s, request("DEL", "a"))
	s.Handle(wire.Request{Command: "a stranger's label"})
	want := `
		# HELP selvage_cni_requests_total Calls of the CNI plugin, by verb and result: ok, or the error's code.
		# TYPE selvage_cni_requests_total counter
		selvage_cni_requests_total{result="6",verb="other"} 1
		selvage_cni_requests_total{result="ok",verb="ADD"} 1
		selvage_cni_requests_total{result="ok",verb="DEL"} 1
	`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "selvage_cni_requests_total"); err != nil {
		t.Error(err)
	}
	if _, err := cniserver.NewMetrics(registry); err == nil {
		t.Error("registered twice")
	}
}
