// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package agent

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/hack/cluster/processes"
	"github.com/selvage-net/selvage/node-agent/membership"
	"github.com/selvage-net/selvage/test/e2e/await"
)

// startController runs the real controller instead of the script, and returns
// where it serves its metrics.
func startController(t *testing.T) string {
	t.Helper()
	metrics := freePort(t)
	program := filepath.Join(programs, "selvage-controller")
	if out, err := exec.Command("go", "build", "-o", program, "../../../cmd/selvage-controller").CombinedOutput(); err != nil {
		t.Fatalf("building selvage-controller: %v\n%s", err, out)
	}
	path, _, err := plane.KubeconfigFor(t.Context(), namespace, "selvage-controller", nil)
	if err != nil {
		t.Fatal(err)
	}
	spawner, err := processes.NewSpawner()
	if err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(t.TempDir(), "log")
	process, err := processes.StartProcess(spawner, "selvage-controller", log, exec.Command(program,
		"--kubeconfig="+path, "--namespace="+namespace, "--leader-elect", "--log-level=debug", "--log-format=console",
		fmt.Sprintf("--lease-duration=%ds", leaseSeconds), "--grace-period=2s", "--metrics-bind-address="+metrics, "--health-probe-bind-address=0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		process.Kill()
		spawner.Close()
		if t.Failed() || os.Getenv("SELVAGE_LOGS") != "" {
			text, _ := os.ReadFile(log)
			t.Logf("the controller's log:\n%s", text)
		}
	})
	return metrics
}

// serving: each peer that is not on its way out is served.
const serving = "no selvage_peer_unready{"

// Agents and controller together: three join, one dies and is inherited, comes
// back, is let in again, and another leaves for good.
func TestWithController(t *testing.T) {
	s := &stage{t: t}
	t.Cleanup(s.strike)
	s.must(admin.Create(t.Context(), &v1alpha1.AddressPool{
		ObjectMeta: metav1.ObjectMeta{Name: "default"}, Spec: v1alpha1.AddressPoolSpec{CIDR: "10.32.0.0/12"},
	}))
	metrics := startController(t)
	a, b, c := newMachine(t), newMachine(t), newMachine(t)
	told := newRecorder(t, metrics, a, b, c)
	for _, m := range []*machine{a, b, c} {
		m.start()
	}
	x, y, z := a.awaitPod(), b.awaitPod(), c.awaitPod()
	for _, pair := range [][2]*pod{{x, y}, {y, z}, {z, x}} {
		await.Until(t, "pods to reach each other", func() error { return pair[0].reaches(pair[1]) })
	}

	told.moment("all serve", `selvage_peers{phase="Active"} 3`, `selvage_pool_exhausted{pool="default"} 0`, serving)

	c.kill() // catches fire
	s.must(c.Cut())
	told.moment("one is silent", fmt.Sprintf(`selvage_peer_unready{peer="%s",reason="LeaseExpired"} 1`, c.node))
	lost := s.peer(c.node)
	s.must(admin.Create(t.Context(), &v1alpha1.PeerRemoval{
		ObjectMeta: metav1.ObjectMeta{Name: c.node}, Spec: v1alpha1.PeerRemovalSpec{Heir: a.node},
	}))
	s.awaitPeer(c.node, "removal", func(p *v1alpha1.Peer) bool { return p.Status.Phase == v1alpha1.PhaseRemoved })
	if mine := s.owned(a.node); mine < 2 {
		t.Errorf("the heir owns %d ranges", mine)
	}

	s.must(c.Heal()) // and is back, with its stale pod
	c.start()
	c.awaitRow(membership.DeclaredOut, "kubectl delete peerremoval")
	await.Until(t, "the stale pod to be cut off", z.isCutOff)
	if _, err := c.tryPod(); !errors.Is(err, errRefused) {
		t.Errorf("a pod on a node that is out: %v", err)
	}
	told.moment("one is out", `selvage_removals_total{evidence="LeaseExpired"} 1`, serving)
	s.must(admin.Delete(t.Context(), &v1alpha1.PeerRemoval{ObjectMeta: metav1.ObjectMeta{Name: c.node}}))
	z2 := c.awaitPod()
	if again := s.peer(c.node); again.UID == lost.UID {
		t.Error("it is the same incarnation")
	}
	await.Until(t, "pods to reach each other", func() error { return x.reaches(z2) })

	// Leaving waits for the pod; it is cancelled, then said again and forced.
	member := s.peer(b.node)
	leaves := s.beside(b)
	s.awaitPeer(b.node, "the controller to have begun its removal", func(p *v1alpha1.Peer) bool { return p.Status.Phase == v1alpha1.PhaseFencing })
	told.moment("one waits for its pod", fmt.Sprintf(`selvage_removal_phase_start_timestamp_seconds{peer="%s",phase="Fencing",reason="AwaitingAgent"}`, b.node), serving)
	s.beside(b, "--cancel").expect(true, "this node remains in the network")
	if now := s.peer(b.node); now.UID != member.UID || now.Spec.Removal != nil || now.Status.Agent.Leaving {
		t.Errorf("cancelled, and it is %+v %+v", now.Spec, now.Status)
	}
	leaves.expect(false, "cancelled")
	b.awaitPod()

	out, err := b.runAgent(t.Context(), append([]string{"reset"}, append(b.flags(), "--cut-off-pods")...)...)
	if err != nil || !strings.Contains(out, "left the network") {
		t.Errorf("reset: %v: %s", err, out)
	}
	t.Logf("reset said:\n%s", out)
	if owned := s.owned(b.node); owned != 0 {
		t.Errorf("it left with %d ranges", owned)
	}
	told.moment("one has left", `selvage_removals_total{evidence="AgentAcknowledged"} 1`, serving)
}

// owned is how many ranges a node's peers own.
func (s *stage) owned(node string) int {
	s.t.Helper()
	var ranges v1alpha1.AddressRangeList
	s.must(hand.List(s.t.Context(), &ranges))
	n := 0
	for _, r := range ranges.Items {
		if r.Spec.Owner != nil && r.Spec.Owner.Name == node {
			n++
		}
	}
	return n
}
