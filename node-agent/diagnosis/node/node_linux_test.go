// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/selvage-net/selvage/node-agent/datapath"
	"github.com/selvage-net/selvage/node-agent/diagnosis"
)

// insideEnv makes this program gather facts, as in the namespace it runs in.
const insideEnv = "SELVAGE_TEST_DOCTOR"

func TestMain(m *testing.M) {
	if config, inside := os.LookupEnv(insideEnv); inside {
		var c Config
		if err := json.Unmarshal([]byte(config), &c); err != nil {
			panic(err)
		}
		c.Proc, c.Sys = "/proc", "/sys"
		c.Agent = func(context.Context) diagnosis.AgentState { return diagnosis.AgentState{Answers: true} }
		if err := json.NewEncoder(os.Stdout).Encode(Collect(context.Background(), c)); err != nil {
			panic(err)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// port is where agents would answer. Nobody does: a refusal is an answer.
const port = 9784

// machine is a host with a datapath: machine i has 192.168.77.i and 10.32.i.0/24.
type machine struct {
	t    *testing.T
	name string
	i    int
	k    *datapath.Kernel
	Config
}

func run(t *testing.T, line string) {
	t.Helper()
	words := strings.Fields(line)
	if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
}

func (m *machine) run(line string) { m.t.Helper(); run(m.t, "ip netns exec "+m.name+" "+line) }

// namespace makes one from which nothing leaves.
func namespace(t *testing.T, what string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("NOT RUN: this test makes network namespaces and must be run as root")
	}
	name := fmt.Sprintf("svd%x-%s", rand.Uint32(), what)
	run(t, "ip netns add "+name)
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", name).Run() })
	run(t, "ip -n "+name+" link set lo up")
	run(t, "ip -n "+name+" route add unreachable default metric 4000000")
	return name
}

// pair are two machines on a cable, with the real datapath on both.
func pair(t *testing.T) (a, b *machine) {
	var both [2]*machine
	for i := range both {
		m := &machine{t: t, name: namespace(t, fmt.Sprint("host", i+1)), i: i + 1}
		def := datapath.DefaultOptions()
		def.Sysctls = ""
		m.Config = Config{Node: m.name, Datapath: def, ConfDir: t.TempDir(), BinDir: t.TempDir(), Port: port}
		m.write(filepath.Join(m.ConfDir, "10-selvage.conflist"), `{"name": "selvage", "plugins": [{"type": "selvage"}]}`)
		m.write(filepath.Join(m.BinDir, "selvage"), "#!/bin/sh")
		both[i] = m
	}
	a, b = both[0], both[1]
	a.run("ip link add eth0 type veth peer name eth0 netns " + b.name)
	for _, m := range both {
		m.run(fmt.Sprintf("ip addr add 192.168.77.%d/24 dev eth0", m.i))
		m.run("ip link set eth0 up")
		options := m.Datapath
		options.NetNS = "/run/netns/" + m.name
		k, err := datapath.Open(options)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = k.Close() })
		m.k = k
	}
	a.know(b)
	b.know(a)
	return a, b
}

func (m *machine) ranges() netip.Prefix {
	return netip.MustParsePrefix(fmt.Sprintf("10.32.%d.0/24", m.i))
}

func (m *machine) know(o *machine) {
	m.t.Helper()
	address := netip.MustParseAddr(fmt.Sprintf("192.168.77.%d", m.i))
	far := netip.MustParseAddr(fmt.Sprintf("192.168.77.%d", o.i))
	_, mac, err := o.k.Underlay([]netip.Addr{far})
	if err != nil {
		m.t.Fatal(err)
	}
	if _, _, err := m.k.Underlay([]netip.Addr{address}); err != nil {
		m.t.Fatal(err)
	}
	err = m.k.Set(datapath.Desired{
		Name: m.name, Underlay: []netip.Addr{address}, HostAddresses: []netip.Addr{m.ranges().Addr()}, Own: []netip.Prefix{m.ranges()},
		Pools:   []netip.Prefix{netip.MustParsePrefix("10.32.0.0/16")},
		Remotes: []datapath.Remote{{Name: o.name, Underlay: []netip.Addr{far}, VTEP: mac, Ranges: []netip.Prefix{o.ranges()}}}, Complete: true,
	})
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) write(path, text string) {
	m.t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		m.t.Fatal(err)
	}
}

// set sets a sysctl.
func (m *machine) set(name, value string) {
	m.t.Helper()
	if out, err := exec.Command("ip", "netns", "exec", m.name, "sh", "-c", "echo "+value+" > /proc/sys/net/"+name).CombinedOutput(); err != nil {
		m.t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// attach gives a pod in a namespace of its own an address.
func (m *machine) attach(sandbox string) {
	m.t.Helper()
	pod := namespace(m.t, "pod")
	_, err := m.k.Attach(datapath.AttachRequest{
		Network: "selvage", Sandbox: sandbox, IfName: "eth0", Pod: "default/" + sandbox, NetNS: "/run/netns/" + pod, Addresses: []netip.Addr{m.ranges().Addr().Next()},
	})
	if err != nil {
		m.t.Fatal(err)
	}
}

// diagnose runs the collector in the machine's namespace.
func (m *machine) diagnose() diagnosis.Report {
	m.t.Helper()
	config, err := json.Marshal(m.Config)
	if err != nil {
		m.t.Fatal(err)
	}
	cmd := exec.Command("ip", "netns", "exec", m.name, os.Args[0])
	cmd.Env = append(os.Environ(), insideEnv+"="+string(config))
	out, err := cmd.Output()
	if err != nil {
		m.t.Fatalf("the collector: %v\n%s", err, out)
	}
	var facts diagnosis.Facts
	if err := json.Unmarshal(out, &facts); err != nil {
		m.t.Fatal(err)
	}
	return diagnosis.Judge(&facts)
}

// findings are what is found, a line each.
func findings(r diagnosis.Report) string {
	var b strings.Builder
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "%s %s %s: %s\n", f.Severity, f.Check, f.Object, f.Message)
	}
	return b.String()
}

func TestNothingIsWrong(t *testing.T) {
	a, _ := pair(t)
	a.CRISocket = runtime(t, "s1")
	a.attach("s1")
	r := a.diagnose()
	if len(r.Findings) > 0 {
		t.Errorf("found\n%s", findings(r))
	}
	for _, result := range r.Results {
		if result.Verdict != diagnosis.OK {
			t.Errorf("%+v", result)
		}
	}
	if r.Traits.MTU != 1450 {
		t.Errorf("traits %+v", r.Traits)
	}
}

// Each breach is made in a real kernel, and found there.
func TestBreaches(t *testing.T) {
	for name, c := range map[string]struct {
		harm func(t *testing.T, a, b *machine)
		want string
	}{
		"a small underlay": {func(_ *testing.T, a, _ *machine) { a.run("ip link set eth0 mtu 1400") },
			"error mtu interface/eth0: its MTU towards 192.168.77.2 is 1400, and a full packet of selvage0 has 1500"},
		"a bridge in the range": {func(_ *testing.T, a, _ *machine) {
			a.run("ip link add docker0 type bridge")
			a.run("ip addr add 10.32.2.129/25 dev docker0")
			a.run("ip link set docker0 up")
		}, "error routes route/10.32.2.128/25: a route of somebody else's to 10.32.2.128/25 by docker0 takes traffic from 10.32.2.0/24"},
		"forwarding is off": {func(_ *testing.T, a, _ *machine) { a.set("ipv4/ip_forward", "0") },
			`error forwarding node/NAME: net.ipv4.ip_forward is "0"`},
		"the tunnel device is down": {func(_ *testing.T, a, _ *machine) { a.run("ip link set selvage0 down") },
			"error tunnel-device interface/selvage0: it is down"},
		"another port": {func(_ *testing.T, a, _ *machine) { a.Datapath.Port = 8472 },
			"error tunnel-device interface/selvage0: it has port 4789 and identifier 21365, and the agent is told 8472 and 21365"},
		"a program has the port": {func(t *testing.T, a, _ *machine) {
			a.run("ip link del selvage0")
			hold(t, a)
		}, "error tunnel-device interface/selvage0: a program has UDP port 4789"},
		"a strict filter": {func(_ *testing.T, a, _ *machine) {
			a.run("ip link add eth1 type bridge")
			a.run("ip link set eth1 up")
			a.run("ip route add 192.168.77.2 dev eth1 src 192.168.77.1")
			a.set("ipv4/conf/eth0/rp_filter", "1")
		}, "error rp-filter interface/eth0: tunnels of 192.168.77.2 come in by eth0, answers go out by eth1"},
		"blocked tunnels": {func(_ *testing.T, _, b *machine) {
			block(b)
		},
			"error overlay node/NAME: 1 of 1 peers answer outside the network and not through it: 192.168.77.2"},
		"a peer is away": {func(_ *testing.T, _, b *machine) { b.run("ip link set eth0 down") },
			"warning overlay node/NAME: 1 of 1 peers answer neither through the network nor outside it: 192.168.77.2"},
		"another network's configuration": {func(_ *testing.T, a, _ *machine) {
			a.write(filepath.Join(a.ConfDir, "05-flannel.conflist"), `{"name": "cbr0", "plugins": [{"type": "flannel"}]}`)
		}, `sorts before 10-selvage.conflist, and the runtime takes the first: pods get the network "cbr0"`},
		"the plugin is gone": {func(t *testing.T, a, _ *machine) {
			if err := os.Remove(filepath.Join(a.BinDir, "selvage")); err != nil {
				t.Fatal(err)
			}
		}, "error cni file/"},
		"a stale sandbox": {func(t *testing.T, a, _ *machine) {
			a.CRISocket = runtime(t, "s1")
			a.attach("lost")
		}, "it holds [10.32.1.1] for the sandbox lost (default/lost), which the container runtime does not know"},
		"a pod from larger days": {func(_ *testing.T, a, _ *machine) {
			a.attach("s1")
			a.run("ip link set eth0 mtu 1400")
			a.run("ip link set selvage0 mtu 1350")
		}, "warning mtu node/NAME: 1 pods have a larger MTU than the tunnel (1350): default/s1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b := pair(t)
			c.harm(t, a, b)
			want := strings.ReplaceAll(c.want, "NAME", a.name)
			if got := findings(a.diagnose()); !strings.Contains(got, want) {
				t.Errorf("want %q, found\n%s", want, got)
			}
		})
	}
}

// fakeRuntime is a container runtime that knows some sandboxes.
type fakeRuntime struct {
	cri.UnimplementedRuntimeServiceServer
	known []string
}

func (f fakeRuntime) ListPodSandbox(context.Context, *cri.ListPodSandboxRequest) (*cri.ListPodSandboxResponse, error) {
	r := &cri.ListPodSandboxResponse{}
	for _, id := range f.known {
		r.Items = append(r.Items, &cri.PodSandbox{Id: id})
	}
	return r, nil
}

func runtime(t *testing.T, known ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "cri.sock")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	cri.RegisterRuntimeServiceServer(server, fakeRuntime{known: known})
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return path
}

// A refusal is an answer, and silence is none.
func TestAnswers(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := netip.MustParseAddrPort(listener.Addr().String())
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if !answers(ctx, at.Addr(), int(at.Port())) {
		t.Error("who listens does not answer")
	}
	_ = listener.Close()
	if !answers(ctx, at.Addr(), int(at.Port())) {
		t.Error("a refusal is no answer")
	}
	cancel()
	if answers(ctx, at.Addr(), int(at.Port())) {
		t.Error("silence is an answer")
	}
}
