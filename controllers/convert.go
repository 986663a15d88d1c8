// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/controllers/ownership"
)

// Every conversion returns what it could read, and an error that names what
// it could not: what to do about that is the caller's business.

func toObject(o metav1.Object, finalizer string) ownership.Object {
	return ownership.Object{
		Name:      o.GetName(),
		UID:       string(o.GetUID()),
		Version:   o.GetResourceVersion(),
		Deleting:  o.GetDeletionTimestamp() != nil,
		Finalizer: finalizer != "" && slices.Contains(o.GetFinalizers(), finalizer),
	}
}

// parsePrefix accepts what the schema accepts: a canonical CIDR, no host bits,
// no IPv4 in IPv6 clothing.
func parsePrefix(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is not a CIDR, such as 10.32.0.0/12 or fd00:10::/64", s)
	}
	if p != p.Masked() {
		return netip.Prefix{}, fmt.Errorf("%s has host bits set: write %s", s, p.Masked())
	}
	if p.Addr().Is4In6() {
		return netip.Prefix{}, fmt.Errorf("%s is an IPv4-mapped IPv6 CIDR: write it as IPv4", s)
	}
	return p, nil
}

func parseAddrs(in []string) (out []netip.Addr, err error) {
	for _, s := range in {
		a, perr := netip.ParseAddr(s)
		if perr != nil || a.Zone() != "" {
			err = fmt.Errorf("%q is not an IP address", s)
			continue
		}
		out = append(out, a.Unmap())
	}
	return out, err
}

func toRef(r *v1alpha1.PeerReference) ownership.Ref {
	if r == nil {
		return ownership.Ref{}
	}
	return ownership.Ref{Name: r.Name, UID: string(r.UID)}
}

// poolPrefixLengths applies the defaults that the API documents.
func poolPrefixLengths(spec *v1alpha1.AddressPoolSpec, cidr netip.Prefix) (first, largest int) {
	first, largest = 24, 20
	if cidr.Addr().Is6() {
		first, largest = 120, 116
	}
	first = max(first, cidr.Bits())
	if spec.RangePrefixLength != nil {
		first = int(*spec.RangePrefixLength)
	} else if spec.MaxRangePrefixLength != nil {
		first = max(first, int(*spec.MaxRangePrefixLength))
	}
	largest = max(min(largest, first), cidr.Bits())
	if spec.MaxRangePrefixLength != nil {
		largest = int(*spec.MaxRangePrefixLength)
	}
	return first, largest
}

func toPool(p *v1alpha1.AddressPool) (ownership.Pool, error) {
	out := ownership.Pool{
		Object:     toObject(p, v1alpha1.PoolFinalizer),
		Generation: p.Generation,
		Claimed:    apimeta.IsStatusConditionTrue(p.Status.Conditions, v1alpha1.ConditionClaimed),
		Accepted:   apimeta.IsStatusConditionTrue(p.Status.Conditions, v1alpha1.ConditionAccepted),
	}
	_, out.Release = p.Annotations[v1alpha1.ReleaseAnnotation]
	cidr, err := parsePrefix(p.Spec.CIDR)
	if err != nil {
		return out, fmt.Errorf("spec.cidr: %w", err)
	}
	out.CIDR = cidr
	out.First, out.Max = poolPrefixLengths(&p.Spec, cidr)
	if cidr.Bits() > out.Max || out.Max > out.First || out.First > cidr.Addr().BitLen() {
		return out, fmt.Errorf("spec: prefix lengths must satisfy %d (the pool's) <= maxRangePrefixLength %d <= rangePrefixLength %d <= %d",
			cidr.Bits(), out.Max, out.First, cidr.Addr().BitLen())
	}
	if _, err := metav1.LabelSelectorAsSelector(p.Spec.NodeSelector); err != nil {
		return out, fmt.Errorf("spec.nodeSelector: %w", err)
	}
	return out, nil
}

func toRange(r *v1alpha1.AddressRange) (ownership.Range, error) {
	out := ownership.Range{
		Object:        toObject(r, ""),
		Pool:          r.Spec.Pool,
		Owner:         toRef(r.Spec.Owner),
		PreviousOwner: toRef(r.Spec.PreviousOwner),
		Epoch:         r.Spec.Epoch,
		ObservedEpoch: r.Status.ObservedEpoch,
		Used:          r.Status.Used,
	}
	var err error
	if out.CIDR, err = parsePrefix(r.Spec.CIDR); err != nil {
		return out, fmt.Errorf("spec.cidr: %w", err)
	}
	for _, res := range r.Spec.Reserved {
		a, err := netip.ParseAddr(res.Address)
		if err != nil {
			return out, fmt.Errorf("spec.reserved: %q is not an IP address", res.Address)
		}
		out.Reserved = append(out.Reserved, ownership.Reservation{Address: a.Unmap(), PodUID: string(res.PodUID)})
	}
	if r.Spec.Keep != nil {
		keep, err := parseKeep(*r.Spec.Keep)
		if err != nil {
			return out, fmt.Errorf("spec.keep: %w", err)
		}
		out.Keep = &keep
	}
	if s := r.Status.Sealed; s != nil {
		// The agent's word: a promise that cannot be read is no promise.
		if keep, err := parseKeep(s.Keep); err == nil {
			out.Sealed = &ownership.Seal{Epoch: s.Epoch, Keep: keep}
		}
	}
	return out, nil
}

func parseKeep(s string) (netip.Prefix, error) {
	if s == "" {
		return netip.Prefix{}, nil
	}
	return parsePrefix(s)
}

func toPeer(p *v1alpha1.Peer) (ownership.Peer, error) {
	out := ownership.Peer{
		Object:     toObject(p, v1alpha1.OwnershipFinalizer),
		Generation: p.Generation,
		NodeUID:    string(p.Spec.NodeUID),
		InstanceID: p.Spec.InstanceID,
		Phase:      ownership.Phase(p.Status.Phase),
	}
	if r := p.Spec.Removal; r != nil {
		out.Removal = &ownership.Removal{
			Reason:     ownership.Reason(r.Reason),
			RemovalUID: string(r.RemovalUID),
			Heir:       r.Heir,
			AssertDown: r.AssertDown,
			CutOff:     r.CutOff,
		}
	}
	if r := p.Status.Removal; r != nil {
		out.Result = &ownership.Result{
			Evidence:  ownership.Evidence(r.Evidence),
			Heir:      toRef(r.Heir),
			Ranges:    int(r.Ranges),
			Addresses: r.Addresses,
		}
	}
	var err, aerr error
	out.Underlay, err = parseAddrs(p.Status.Underlay)
	out.Report, aerr = toReport(p.Status.Agent)
	if err != nil {
		return out, fmt.Errorf("status.underlay: %w", err)
	}
	if aerr != nil {
		return out, fmt.Errorf("status.agent.underlay: %w", aerr)
	}
	return out, nil
}

func toReport(a *v1alpha1.AgentReport) (ownership.Report, error) {
	if a == nil {
		return ownership.Report{Headroom: -1}, nil
	}
	out := ownership.Report{
		Present:   true,
		NodeUID:   string(a.NodeUID),
		Headroom:  -1,
		Leaving:   a.Leaving,
		Contender: a.Contender,
		Regressed: strings.HasPrefix(a.Suspended, v1alpha1.ReasonStateRegressed),
	}
	if a.Headroom != nil {
		out.Headroom = *a.Headroom
	}
	if a.Fenced != nil {
		out.FencedGeneration = a.Fenced.Generation
	}
	if len(a.Pools) > 0 {
		out.Pools = make(map[string]ownership.PoolUse, len(a.Pools))
		for _, p := range a.Pools {
			out.Pools[p.Name] = ownership.PoolUse{Capacity: p.Capacity, Used: p.Used}
		}
	}
	var err error
	out.Underlay, err = parseAddrs(a.Underlay)
	return out, err
}

func toDeclaration(r *v1alpha1.PeerRemoval) ownership.Declaration {
	return ownership.Declaration{
		Object:     toObject(r, v1alpha1.RemovalFinalizer),
		Generation: r.Generation,
		Heir:       r.Spec.Heir,
		AssertDown: r.Spec.AssertDown,
		InstanceID: r.Spec.InstanceID,
		PeerUID:    string(r.Status.PeerUID),
		Done:       r.Status.Phase == v1alpha1.RemovalRemoved,
	}
}

// toLease returns false for a Lease that is not a peer's.
func toLease(l *coordinationv1.Lease) (ownership.Lease, bool) {
	name, ok := strings.CutPrefix(l.Name, v1alpha1.LeasePrefix)
	if !ok || name == "" {
		return ownership.Lease{}, false
	}
	out := ownership.Lease{
		Object:    toObject(l, ""),
		CutOff:    splitList(l.Annotations[v1alpha1.CutOffAnnotation]),
		SealedFor: splitList(l.Annotations[v1alpha1.SealedForAnnotation]),
		Term:      l.Annotations[v1alpha1.TermAnnotation],
	}
	out.Name = name
	if l.Spec.HolderIdentity != nil {
		out.Holder = *l.Spec.HolderIdentity
	}
	out.Duration = leaseDuration(l)
	return out, true
}

func leaseDuration(l *coordinationv1.Lease) time.Duration {
	if l.Spec.LeaseDurationSeconds == nil || *l.Spec.LeaseDurationSeconds < 0 {
		return 0
	}
	return time.Duration(*l.Spec.LeaseDurationSeconds) * time.Second
}

// splitList reads a list of uids: anything between commas and blanks.
func splitList(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}

func toNode(n *corev1.Node) ownership.Node {
	out := ownership.Node{
		Name:          n.Name,
		UID:           string(n.UID),
		Unschedulable: n.Spec.Unschedulable,
	}
	for _, t := range n.Spec.Taints {
		out.OutOfService = out.OutOfService || t.Key == v1alpha1.OutOfServiceTaint
	}
	for _, a := range n.Status.Addresses {
		if a.Type != corev1.NodeInternalIP && a.Type != corev1.NodeExternalIP {
			continue
		}
		if ip, err := netip.ParseAddr(a.Address); err == nil {
			out.Addresses = append(out.Addresses, ip.Unmap())
		}
	}
	return out
}

// toPod returns false for a pod that holds no address of ours: finished, on
// the host's network, or without an address so far.
func toPod(p *corev1.Pod) (ownership.Pod, bool) {
	if p.Spec.HostNetwork || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
		return ownership.Pod{}, false
	}
	out := ownership.Pod{
		UID:       string(p.UID),
		Namespace: p.Namespace,
		Name:      p.Name,
		Node:      p.Spec.NodeName,
	}
	for _, ip := range p.Status.PodIPs {
		if a, err := netip.ParseAddr(ip.IP); err == nil {
			out.Addresses = append(out.Addresses, a.Unmap())
		}
	}
	if len(out.Addresses) == 0 {
		return ownership.Pod{}, false
	}
	_, static := p.Annotations[corev1.MirrorPodAnnotationKey]
	owner := metav1.GetControllerOf(p)
	out.Daemon = static || owner != nil && owner.Kind == "DaemonSet"
	return out, true
}

// rangeName is the name that the schema demands: an IPv4 address as it is, an
// IPv6 address in full, eight groups of four with dashes.
func rangeName(p netip.Prefix) string {
	if p.Addr().Is4() {
		return p.Addr().String()
	}
	return strings.ReplaceAll(p.Addr().StringExpanded(), ":", "-")
}
