// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package checkup

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/inventory"
	"github.com/selvage-net/selvage/node-agent/diagnosis"
)

// leaderSilence is how long a leader may be silent. Two clocks are compared,
// so that it is long beside what a leader's Lease lasts.
const leaderSilence = time.Minute

func controller(c *Cluster) []diagnosis.Finding {
	var found []diagnosis.Finding
	remedy := fmt.Sprintf("kubectl -n %s get pods, and the controllers' logs; nothing is granted or removed until one leads", c.Namespace)
	switch l := c.Leader; {
	case l == nil:
		found = append(found, diagnosis.Finding{Severity: diagnosis.Error, Object: "lease/" + v1alpha1.LeaderLease, Message: "there is no leader's Lease in namespace " + c.Namespace, Remedy: remedy + "; is Selvage installed in another namespace (-n)?"})
	case inventory.Holder(l) == "" || l.Spec.RenewTime == nil:
		found = append(found, diagnosis.Finding{Severity: diagnosis.Error, Object: "lease/" + l.Name, Message: "nobody leads", Remedy: remedy})
	case c.Now.Sub(l.Spec.RenewTime.Time) > leaderSilence:
		found = append(found, diagnosis.Finding{
			Severity: diagnosis.Error, Object: "lease/" + l.Name, Remedy: remedy,
			Message: fmt.Sprintf("%s has been silent for %s", inventory.Holder(l), c.Now.Sub(l.Spec.RenewTime.Time).Round(time.Second)),
		})
	}
	for i := range c.Controllers {
		if why := unready(&c.Controllers[i]); why != "" {
			found = append(found, diagnosis.Finding{Severity: diagnosis.Warning, Object: "pod/" + c.Controllers[i].Name, Message: "a controller is not ready: " + why, Remedy: "kubectl describe it, and its log"})
		}
	}
	return found
}

// agents looks for nodes that no agent serves.
func agents(c *Cluster) []diagnosis.Finding {
	var found []diagnosis.Finding
	on := map[string]*corev1.Pod{}
	for i := range c.Agents {
		on[c.Agents[i].Spec.NodeName] = &c.Agents[i]
	}
	out := map[string]bool{}
	for i := range c.Removals {
		out[c.Removals[i].Name] = true
	}
	joined := map[string]bool{}
	for i := range c.Peers {
		joined[c.Peers[i].Name] = true
	}
	for i := range c.Nodes {
		n := &c.Nodes[i]
		if system := n.Labels[corev1.LabelOSStable]; system != "" && system != "linux" || out[n.Name] {
			continue
		}
		pod := on[n.Name]
		switch {
		case pod == nil && joined[n.Name]: // started by hand, or about to lose its lease, which is another check's
		case pod == nil:
			found = append(found, diagnosis.Finding{Severity: diagnosis.Error, Object: "node/" + n.Name, Message: "no agent's pod is on this node, and it has not joined", Remedy: fmt.Sprintf("kubectl -n %s describe daemonset: does its nodeSelector leave the node out, or is something forbidden?", c.Namespace)})
		case unready(pod) != "":
			found = append(found, diagnosis.Finding{Severity: diagnosis.Error, Object: "node/" + n.Name, Message: fmt.Sprintf("its agent, pod %s, is not ready: %s", pod.Name, unready(pod)), Remedy: "its log; and kubectl selvage doctor " + n.Name})
		case !joined[n.Name]:
			found = append(found, diagnosis.Finding{Severity: diagnosis.Error, Object: "node/" + n.Name, Message: "it has an agent, and no Peer: it has not joined", Remedy: "the log of pod " + pod.Name + " says what it waits for"})
		}
	}
	return found
}

// unready says why a pod is not ready; empty: it is.
func unready(p *corev1.Pod) string {
	for _, s := range p.Status.ContainerStatuses {
		if s.State.Waiting != nil {
			return strings.TrimSuffix(s.State.Waiting.Reason+": "+s.State.Waiting.Message, ": ")
		}
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
			return ""
		}
		if c.Type == corev1.PodReady {
			return cmp.Or(c.Message, c.Reason, string(p.Status.Phase), "its kubelet does not say why")
		}
	}
	return "its kubelet has not reported it: " + string(p.Status.Phase)
}

func versions(c *Cluster) []diagnosis.Finding {
	by := map[string][]string{}
	for i := range c.Peers {
		if p := &c.Peers[i]; p.Status.Agent != nil && !inventory.Gone(inventory.Phase(p)) {
			by[p.Status.Agent.Version] = append(by[p.Status.Agent.Version], p.Name)
		}
	}
	if len(by) < 2 {
		return nil
	}
	most := slices.MaxFunc(sorted(by), func(a, b string) int { return cmp.Compare(len(by[a]), len(by[b])) })
	var found []diagnosis.Finding
	for _, v := range sorted(by) {
		if v == most {
			continue
		}
		for _, name := range by[v] {
			found = append(found, diagnosis.Finding{
				Severity: diagnosis.Warning, Object: "peer/" + name, Message: fmt.Sprintf("its agent is of version %s, those of most peers of %s", cmp.Or(v, "(not reported)"), cmp.Or(most, "(not reported)")),
				Remedy: fmt.Sprintf("wait for the upgrade to end: kubectl -n %s rollout status daemonset/selvage-agent; an agent started by hand is upgraded by hand", c.Namespace),
			})
		}
	}
	return found
}

// peers looks at those that are to be in the network.
func peers(c *Cluster) []diagnosis.Finding {
	var found []diagnosis.Finding
	for i := range c.Peers {
		p := &c.Peers[i]
		if inventory.Phase(p) != v1alpha1.PhaseActive {
			continue
		}
		say := func(severity diagnosis.Severity, message, remedy string) {
			found = append(found, diagnosis.Finding{Severity: severity, Object: "peer/" + p.Name, Message: message, Remedy: remedy})
		}
		sealed, known := c.Sealed(p.Name)
		ready := meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionReady)
		look := "is its agent running, and does it reach the API server? kubectl selvage doctor " + p.Name
		switch {
		case p.Status.Agent != nil && p.Status.Agent.Suspended != "":
			say(diagnosis.Error, "it allocates nothing: "+p.Status.Agent.Suspended, "docs/troubleshoot.md, \"A peer is not well\"")
		case !known:
			say(diagnosis.Error, "it has no lease: it gives no pod an address", look)
		case sealed:
			say(diagnosis.Error, "its lease has run out and is sealed: it gives no pod an address", look)
		case p.Status.Agent != nil && len(p.Status.Underlay) == 0:
			say(diagnosis.Error, fmt.Sprintf("none of its underlay addresses (%s) is accepted: no other peer hears it", strings.Join(p.Status.Agent.Underlay, ", ")), "has the Node one of them, and no other peer? kubectl selvage peers has the reason")
		case ready != nil && ready.Status != metav1.ConditionTrue:
			say(diagnosis.Warning, "it is not ready: "+cmp.Or(ready.Message, ready.Reason), "docs/troubleshoot.md, \"A peer is not well\"")
		}
	}
	return found
}

func pools(c *Cluster) []diagnosis.Finding {
	var found []diagnosis.Finding
	if len(c.Pools) == 0 {
		found = append(found, diagnosis.Finding{Severity: diagnosis.Error, Object: "cluster", Message: "there is no address pool: no pod gets an address", Remedy: "kubectl apply -k config/pool, or one of your own"})
	}
	for i := range c.Pools {
		p := &c.Pools[i]
		say := func(severity diagnosis.Severity, message, remedy string) {
			found = append(found, diagnosis.Finding{Severity: severity, Object: "addresspool/" + p.Name, Message: message, Remedy: remedy})
		}
		if !meta.IsStatusConditionTrue(p.Status.Conditions, v1alpha1.ConditionAccepted) {
			say(diagnosis.Error, "it is not accepted: "+cmp.Or(inventory.Message(p.Status.Conditions, v1alpha1.ConditionAccepted), "no controller has said why"), "kubectl get addresspools -o wide; a pool must not overlap another")
		}
		if meta.IsStatusConditionTrue(p.Status.Conditions, v1alpha1.ConditionExhausted) {
			say(diagnosis.Warning, "it is exhausted: "+inventory.Message(p.Status.Conditions, v1alpha1.ConditionExhausted), "add another pool (docs/operate.md, \"Grow\")")
		}
		if meta.IsStatusConditionTrue(p.Status.Conditions, v1alpha1.ConditionRemovalsHeld) {
			say(diagnosis.Warning, "removals are held back: "+inventory.Message(p.Status.Conditions, v1alpha1.ConditionRemovalsHeld), "docs/operate.md, \"Too many nodes vanished at once\"")
		}
		if other := overlap(c, inventory.Prefix(p.Spec.CIDR)); other != "" {
			say(diagnosis.Error, fmt.Sprintf("%s contains %s: its traffic would go astray", p.Spec.CIDR, other), "move the pods to a pool that overlaps neither the nodes' nor the services' addresses")
		}
	}
	return found
}

// overlap names an address of the cluster's that is in the pool.
func overlap(c *Cluster, pool netip.Prefix) string {
	for i := range c.Nodes {
		for _, a := range c.Nodes[i].Status.Addresses {
			if ip, err := netip.ParseAddr(a.Address); err == nil && pool.Contains(ip) {
				return fmt.Sprintf("%s, the %s of node %s", ip, a.Type, c.Nodes[i].Name)
			}
		}
	}
	if ip, err := netip.ParseAddr(c.ServiceIP); err == nil && pool.Contains(ip) {
		return fmt.Sprintf("%s, the service kubernetes", ip)
	}
	return ""
}

func removals(c *Cluster) []diagnosis.Finding {
	var found []diagnosis.Finding
	for _, r := range c.UnderWay() {
		if r.Stalled {
			found = append(found, diagnosis.Finding{Severity: diagnosis.Warning, Object: "peer/" + r.Peer, Message: "its removal is stalled: " + r.Message, Remedy: "docs/troubleshoot.md, \"A removal does not end\"; kubectl selvage status"})
		}
	}
	return found
}

func sorted[T any](m map[string]T) []string { return slices.Sorted(maps.Keys(m)) }

// selector is a label selector as text; one that selects all is the default.
func selector(s *metav1.LabelSelector) string {
	if s == nil || len(s.MatchLabels)+len(s.MatchExpressions) == 0 {
		return ""
	}
	return encode(s)
}
