// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"maps"
	"slices"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/test/sim/apiserver"
)

// noteChange keeps a line about a change of the API's, unless it is an
// everyday one.
func (w *World) noteChange(k *apiserver.Kind, before, after client.Object) {
	who := "the world"
	if w.current != nil {
		who = w.current.p.name
	}
	o, verb := after, "updated"
	switch {
	case before == nil:
		verb = "created"
	case after == nil:
		o, verb = before, "deleted"
	}
	if text := describe(before, o); text != "" {
		w.note("%s %s %s %s: %s", k.Resource.Resource, o.GetName(), verb, "by "+who, text)
	}
}

func describe(before, o client.Object) string {
	switch o := o.(type) {
	case *v1alpha1.AddressRange:
		owner := "nobody"
		if o.Spec.Owner != nil {
			owner = o.Spec.Owner.Name + " " + tail(string(o.Spec.Owner.UID))
		}
		keep := ""
		if o.Spec.Keep != nil {
			keep = " keep=" + *o.Spec.Keep
		}
		return fmt.Sprintf("%s of %s, epoch %d%s, reserved %d, observed %d, used %d, sealed %t",
			o.Spec.CIDR, owner, o.Spec.Epoch, keep, len(o.Spec.Reserved), o.Status.ObservedEpoch, o.Status.Used, o.Status.Sealed != nil)
	case *v1alpha1.Peer:
		text := fmt.Sprintf("%s v%s instance %s node %s phase %q", tail(string(o.UID)), o.ResourceVersion, o.Spec.InstanceID, tail(string(o.Spec.NodeUID)), o.Status.Phase)
		if o.Spec.Removal != nil {
			text += fmt.Sprintf(" removal %s heir %q", o.Spec.Removal.Reason, o.Spec.Removal.Heir)
		}
		if o.Status.Removal != nil {
			text += fmt.Sprintf(" evidence %s", o.Status.Removal.Evidence)
		}
		if a := o.Status.Agent; a != nil {
			text += fmt.Sprintf(" agent suspended=%.30q fenced=%t leaving=%t contender=%q", a.Suspended, a.Fenced != nil, a.Leaving, a.Contender)
		}
		for _, c := range o.Status.Conditions {
			if c.Status == metav1.ConditionTrue {
				text += fmt.Sprintf(" %s=%s", c.Type, c.Reason)
			}
		}
		return text
	case *v1alpha1.PeerRemoval:
		return fmt.Sprintf("heir %q assert %t phase %s", o.Spec.Heir, o.Spec.AssertDown, o.Status.Phase)
	case *coordinationv1.Lease:
		if o.Namespace != Namespace || o.Spec.HolderIdentity == nil {
			return ""
		}
		text := "v" + o.ResourceVersion + " holder " + tail(*o.Spec.HolderIdentity)
		for _, k := range slices.Sorted(maps.Keys(o.Annotations)) {
			text += " " + k[len("net.selvage.dev/"):] + "=" + tail(o.Annotations[k])
		}
		if l, ok := before.(*coordinationv1.Lease); ok && l.Spec.HolderIdentity != nil && *l.Spec.HolderIdentity == *o.Spec.HolderIdentity &&
			fmt.Sprint(l.Annotations) == fmt.Sprint(o.Annotations) {
			return "" // a renewal
		}
		return text
	}
	return ""
}

func tail(s string) string {
	const prefix = "00000000-0000-4000-8000-00000000"
	if len(s) > len(prefix) && s[:len(prefix)] == prefix {
		return s[len(prefix):]
	}
	return s
}
