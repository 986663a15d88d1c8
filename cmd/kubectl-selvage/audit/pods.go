// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/inventory"
)

// podRules: an address that the API shows on a pod is on no other pod in the
// reachable network, and belongs to the peer of the pod's node. Pods with
// addresses of no pool are another network's.
func podRules(s *inventory.State) []Finding {
	for _, part := range []inventory.Part{inventory.Pods, inventory.Peers, inventory.Ranges, inventory.Pools, inventory.Leases} {
		if !s.Has(part) {
			return nil
		}
	}
	var found []Finding
	holders := map[netip.Addr]*corev1.Pod{}
	for i := range s.Pods {
		pod := &s.Pods[i]
		if !holds(pod) {
			continue
		}
		for _, ip := range pod.Status.PodIPs {
			addr, err := netip.ParseAddr(ip.IP)
			if err != nil || !pooled(s, addr.Unmap()) {
				continue
			}
			addr = addr.Unmap()
			if other := holders[addr]; other != nil {
				found = append(found, twoHolders(s, addr, other, pod))
			}
			holders[addr] = pod
			found = append(found, podRule(s, pod, addr)...)
		}
	}
	return found
}

// holds says whether a pod has addresses of its own: not the host's, and not
// those it had before it finished.
func holds(pod *corev1.Pod) bool {
	return !pod.Spec.HostNetwork && pod.Spec.NodeName != "" &&
		pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed
}

func pooled(s *inventory.State, addr netip.Addr) bool {
	for i := range s.Pools {
		if inventory.Prefix(s.Pools[i].Spec.CIDR).Contains(addr) {
			return true
		}
	}
	return false
}

func twoHolders(s *inventory.State, addr netip.Addr, a, b *corev1.Pod) Finding {
	f := Finding{Invariant: OneHolder, Object: podName(b),
		Message: fmt.Sprintf("has %s, and so has %s on node %s", addr, podName(a), a.Spec.NodeName)}
	// A removed node's pods stay in the API until somebody deletes them.
	if out(s, a.Spec.NodeName) || out(s, b.Spec.NodeName) {
		f.Passing = true
		f.Message += "; one of the nodes is out of the network, and its pod is not heard"
	}
	return f
}

func podRule(s *inventory.State, pod *corev1.Pod, addr netip.Addr) []Finding {
	f := Finding{Invariant: OneHolder, Object: podName(pod), Passing: out(s, pod.Spec.NodeName)}
	r := covering(s, addr)
	switch {
	case r == nil:
		f.Message = fmt.Sprintf("has %s, which is in no range", addr)
	case ownedBy(s, r, pod.Spec.NodeName), reservedFor(r, addr, pod):
		return nil
	case r.Spec.Owner == nil:
		f.Message = fmt.Sprintf("has %s, which is nobody's (addressrange/%s)", addr, r.Name)
	default:
		f.Message = fmt.Sprintf("on node %s has %s, which belongs to %s (addressrange/%s)", pod.Spec.NodeName, addr, r.Spec.Owner.Name, r.Name)
	}
	if f.Passing {
		f.Message += "; its node is out of the network, and it is not heard"
	}
	return []Finding{f}
}

func ownedBy(s *inventory.State, r *v1alpha1.AddressRange, node string) bool {
	p := s.Peer(node)
	return p != nil && r.Spec.Owner != nil && r.Spec.Owner.UID == p.UID
}

// reservedFor: the address was the pod's when its peer was removed, and is
// withheld as long as it is.
func reservedFor(r *v1alpha1.AddressRange, addr netip.Addr, pod *corev1.Pod) bool {
	for _, res := range r.Spec.Reserved {
		a, err := netip.ParseAddr(res.Address)
		if err == nil && a.Unmap() == addr && res.PodUID == pod.UID {
			return true
		}
	}
	return false
}

func podName(pod *corev1.Pod) string { return "pod/" + pod.Namespace + "/" + pod.Name }
