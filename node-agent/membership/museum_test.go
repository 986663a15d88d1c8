// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/node-agent/addresses"
	"github.com/selvage-net/selvage/node-agent/datapath"
)

// The museum's failures that an agent's membership prevents; test/museum takes
// the guards out.

// machine is what an agent runs on: a disk, a kernel, and an API server in
// memory.
type machine struct {
	*testing.T
	api    client.Client
	kernel *datapath.Fake
	clock  *handClock
	disk   string
	// delay: the next Peer that is created lands later, just before the one
	// after it, and no answer arrives.
	delay bool
	late  client.Object
	// away: the API server cannot be reached.
	away bool
	made int
}

func newMachine(t *testing.T) *machine {
	m := &machine{T: t, clock: &handClock{}, disk: t.TempDir()}
	m.clock.set(time.Hour)
	scheme := runtime.NewScheme()
	if err := errors.Join(v1alpha1.AddToScheme(scheme), corev1.AddToScheme(scheme), coordinationv1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	byName := func(o client.Object) []string { return []string{o.GetName()} }
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "host1", UID: "node-1"},
		Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.1"}}},
	}
	m.api = fake.NewClientBuilder().WithScheme(scheme).WithObjects(node).WithStatusSubresource(&v1alpha1.Peer{}, &v1alpha1.AddressRange{}).
		WithIndex(&v1alpha1.PeerRemoval{}, "metadata.name", byName).WithIndex(&corev1.Node{}, "metadata.name", byName).
		WithInterceptorFuncs(interceptor.Funcs{
			Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
				m.made++
				o.SetUID(types.UID(fmt.Sprint("uid-", m.made)))
				if _, peer := o.(*v1alpha1.Peer); peer && m.delay {
					m.delay, m.late = false, o.DeepCopyObject().(client.Object)
					return errLost
				} else if peer && m.late != nil {
					if err := c.Create(ctx, m.late); err != nil {
						t.Error(err)
					}
					m.late = nil
				}
				return c.Create(ctx, o, opts...)
			},
			Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
				if m.away {
					return errLost
				}
				return c.Get(ctx, key, o, opts...)
			},
		}).Build()
	m.boot()
	return m
}

// boot starts the machine anew: there are no pods.
func (m *machine) boot() {
	m.Helper()
	var err error
	if m.kernel, err = datapath.NewFake(datapath.Options{}, netip.MustParsePrefix("192.0.2.1/24")); err != nil {
		m.Fatal(err)
	}
}

// alwaysLists is a cache that is never complete: each view is a LIST.
type alwaysLists struct{}

func (alwaysLists) Run(context.Context, func()) error { return nil }
func (alwaysLists) View(context.Context) (View, bool) { return View{}, false }

// agent starts one on the disk.
func (m *machine) agent(disk string) *Agent {
	m.Helper()
	store, err := OpenStore(disk)
	if err != nil {
		m.Fatal(err)
	}
	m.Cleanup(func() { _ = store.Close() })
	metrics, err := NewMetrics(prometheus.NewRegistry())
	if err != nil {
		m.Fatal(err)
	}
	a, err := New(Config{
		Name: "host1", Namespace: "selvage-system", LeaseDuration: time.Minute, Store: store, Client: m.api, Cache: alwaysLists{},
		Kernel: m.kernel, Ledger: addresses.NewLedger(), Clock: m.clock, Gone: func(datapath.Attachment) {},
		Machine: func() (Fingerprint, error) { return Fingerprint{DMI: "machine"}, nil },
		Log:     slog.New(slog.DiscardHandler), Metrics: metrics,
	})
	if err != nil {
		m.Fatal(err)
	}
	return a
}

// rounds lets an agent go round.
func (m *machine) rounds(a *Agent, n int) {
	for range n {
		a.step(m.Context())
	}
}

func (m *machine) peer() *v1alpha1.Peer {
	m.Helper()
	var p v1alpha1.Peer
	if err := m.api.Get(m.Context(), client.ObjectKey{Name: "host1"}, &p); err != nil {
		m.Fatal(err)
	}
	return &p
}

// weave#3902: nodes were stopped and started daily, and some made a network of
// their own: "seeded by different peers". Here there is one record to join, by
// one create, and who cannot reach it gives out nothing.
func TestMuseum_weave_3902_stopped_and_started_daily(t *testing.T) {
	m := newMachine(t)
	first := m.agent(m.disk)
	m.rounds(first, 8)
	was := m.peer()
	if err := first.Ready(); err != nil {
		t.Fatal(err)
	}
	for day := range 5 {
		if err := first.Store.Close(); err != nil {
			t.Fatal(err)
		}
		m.boot()
		m.away = true
		first = m.agent(m.disk)
		m.rounds(first, 3)
		if first.Ready() == nil {
			t.Fatalf("day %d: it gives out addresses and has not reached the API server", day)
		}
		m.away = false
		m.rounds(first, 8)
		if now := m.peer(); now.UID != was.UID || first.Ready() != nil {
			t.Fatalf("day %d: it is %s, and was %s: %v", day, now.UID, was.UID, first.Ready())
		}
	}
}

// Two machines of one name start at once, and neither sees a Peer.
func TestMuseum_weave_3902_two_join_at_once(t *testing.T) {
	m := newMachine(t)
	first, second := m.agent(m.disk), m.agent(t.TempDir())
	s, err := second.look(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m.rounds(first, 8)
	was := m.peer()
	second.row, second.seen, second.machine = Scratch, true, Fingerprint{DMI: "another"}
	if err := second.act(t.Context(), s); !errors.Is(err, errAgain) {
		t.Fatal(err)
	}
	m.rounds(second, 4)
	m.rounds(first, 4)
	if now := m.peer(); now.UID != was.UID || first.Ready() != nil || second.Ready() == nil || second.row != Contend {
		t.Errorf("it is %s, and was %s; the first: %v, the second, %s: %v", now.UID, was.UID, first.Ready(), second.row, second.Ready())
	}
}

// cloud-provider-azure#4556, ovn-kubernetes#4067, calico#12697, coil#271: a
// write whose outcome was unknown was taken for failed. Here the Peer is made
// after all, while its agent, which has been started anew, makes it again.
func TestMuseum_cloud_provider_azure_4556_joined_and_not_told(t *testing.T) {
	m := newMachine(t)
	a := m.agent(m.disk)
	m.delay = true
	m.rounds(a, 1)
	if m.late == nil {
		t.Fatal("no Peer is on its way")
	}
	if err := a.Store.Close(); err != nil {
		t.Fatal(err)
	}
	a = m.agent(m.disk)
	m.rounds(a, 8)
	if err := a.Ready(); err != nil || m.late != nil {
		t.Errorf("it contends with itself: %s, %v", a.row, err)
	}
}

// weave#3397, #3394: a node's name came back, and the name was the identity.
func TestMuseum_weave_3397_a_machine_under_another_ones_name(t *testing.T) {
	m := newMachine(t)
	first := m.agent(m.disk)
	m.rounds(first, 8)
	was := m.peer()
	second := m.agent(t.TempDir()) // installed anew, under the name
	m.rounds(second, 8)
	now := m.peer()
	if second.Ready() == nil || now.UID != was.UID || now.Status.Agent == nil || now.Status.Agent.Contender == "" {
		t.Errorf("it is %s by now; the second, %s, may allocate: %t", now.UID, second.row, second.Ready() == nil)
	}
}

// weave#678: a peer that was restarted trusted its stale view of what it owned
// after it had given space away.
func TestMuseum_weave_678_a_stale_view_after_giving_away(t *testing.T) {
	nobody := func(netip.Addr) bool { return false }
	w, record := fresh(), Record{InstanceID: "i", PeerUID: "me"}.clone()
	w.remember(&record, nobody)
	given := scene()
	given.Ranges[0] = aRange("r1", "10.32.0.0/24", "b1", 2)
	w.fold(&given, 0, false, record)
	w.remember(&record, nobody)
	// It starts again, and what it is shown is from before.
	w, stale := newWorld("me", record.Ranges), scene()
	w.fold(&stale, 0, true, record)
	w.remember(&record, nobody)
	if got := w.ledgerRanges(record); len(got) > 0 || w.regressed == "" {
		t.Errorf("it gives out what is another's: %+v (regressed: %q)", got, w.regressed)
	}
	// Nor is it again the incarnation that it has acknowledged to be out.
	record.fence("me")
	s := situation(&View{Consistent: true, Peers: []v1alpha1.Peer{mineAsBefore()}}, "a", record, Fingerprint{})
	if row := Decide(s); row != Fenced {
		t.Errorf("a fenced incarnation: %s", row)
	}
}

func mineAsBefore() v1alpha1.Peer {
	p := aPeer("a", "me", "192.0.2.1", "")
	p.Spec.InstanceID = "i"
	return p
}

// cilium PR#46678: the agent released ranges in use before it had read its own
// object. Here nothing is taken away before a view had this peer in it.
func TestMuseum_cilium_PR_46678_its_own_object_not_read_yet(t *testing.T) {
	w, v := newWorld("me", nil), scene()
	v.Peers, v.Ranges = v.Peers[1:], v.Ranges[1:] // all but its own
	w.fold(&v, 0, false, Record{})
	partial := scene()
	partial.Consistent, partial.Ranges = false, nil
	w.fold(&partial, 0, false, Record{})
	if d := w.desired("a", nil, nil, Record{}); d.Complete {
		t.Errorf("complete without itself: %+v", d)
	}
	all := scene()
	w.fold(&all, 0, false, Record{})
	if d := w.desired("a", nil, nil, Record{}); !d.Complete || len(d.Own) != 1 {
		t.Errorf("never complete: %+v", d)
	}
}

// spiderpool#2526, kube-ovn#4304, amazon-vpc-cni-k8s#711, #3019: a restart took
// what it could read for all there was. Here a kernel that cannot be read stops
// the agent, and one that can is what the ledger is rebuilt from.
func TestMuseum_spiderpool_2526_restart_against_a_partial_view(t *testing.T) {
	m := newMachine(t)
	in := netip.MustParseAddr("10.32.0.1")
	if _, err := m.kernel.Attach(datapath.AttachRequest{Network: "net", Sandbox: "a", IfName: "eth0", NetNS: "/run/netns/a", Addresses: []netip.Addr{in}}); err != nil {
		t.Fatal(err)
	}
	a := m.agent(m.disk)
	a.Kernel = unreadable{m.kernel}
	if err := a.Adopt(t.Context()); err == nil {
		t.Fatal("it goes on without having read what is in use")
	}
	a.Kernel = m.kernel
	if err := a.Adopt(t.Context()); err != nil {
		t.Fatal(err)
	}
	if held := a.Ledger.Lookup(addresses.Key{Network: "net", Sandbox: "a", IfName: "eth0"}); !slices.Equal(held, []netip.Addr{in}) {
		t.Errorf("held: %v", held)
	}
}

// unreadable is a kernel whose interfaces cannot be listed.
type unreadable struct{ *datapath.Fake }

func (unreadable) Watch(context.Context, func(datapath.Attachment)) ([]datapath.Attachment, error) {
	return nil, errLost
}

// flannel#29: a suspended machine slept past its renewal, and went on with a
// subnet that was another's by then.
func TestMuseum_flannel_1289_asleep_past_the_renewal(t *testing.T) {
	l := newLeaseTest(t)
	l.take(l.lease, "uid")
	l.clock.advance(10 * time.Minute) // of which this process saw nothing
	if l.lease.Valid() == nil {
		t.Error("it wakes up and gives out addresses")
	}
	l.write(v1alpha1.SealedHolder, nil)
	if err := l.lease.Renew(t.Context()); err == nil || l.lease.Valid() == nil {
		t.Errorf("it renews what was sealed meanwhile: %v", err)
	}
}

// The clock of the lease counts the time that the machine is asleep: in a time
// namespace whose boot time is a day ahead, while the time that it was awake is
// not, it is a day ahead.
func TestMuseum_flannel_1289_the_clock_counts_sleep(t *testing.T) {
	awake := func() time.Duration {
		var now unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
			t.Fatal(err)
		}
		return time.Duration(now.Nano())
	}
	const inside = "SELVAGE_TEST_IN_TIME_NAMESPACE"
	if os.Getenv(inside) != "" {
		fmt.Printf("asleep for %d s\n", (BootClock{}.Now()-awake())/time.Second)
		return
	}
	if os.Geteuid() != 0 {
		t.Fatal("NOT RUN: this test makes a time namespace and must be run as root")
	}
	const day = 86400
	was := int64((BootClock{}.Now() - awake()) / time.Second)
	c := exec.Command("unshare", "--time", "--boottime", fmt.Sprint(day), os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v")
	c.Env = append(os.Environ(), inside+"=yes")
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	_, text, _ := strings.Cut(string(out), "asleep for ")
	var now int64
	if _, err := fmt.Sscanf(text, "%d s", &now); err != nil || now-was < day-1 || now-was > day+1 {
		t.Errorf("a day asleep counts as %d s (%v)\n%s", now-was, err, out)
	}
}
