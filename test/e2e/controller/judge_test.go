// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package controller

import (
	"strings"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/selvage-net/selvage/api/v1alpha1"
)

// The judge of histories must itself be judged: each of these must be found.
func TestTheJudge(t *testing.T) {
	a, b := &v1alpha1.PeerReference{Name: "a", UID: "ua"}, &v1alpha1.PeerReference{Name: "b", UID: "ub"}
	peer := func(ref *v1alpha1.PeerReference, phase v1alpha1.PeerPhase, heir *v1alpha1.PeerReference) change {
		p := &v1alpha1.Peer{ObjectMeta: metav1.ObjectMeta{Name: ref.Name, UID: ref.UID}, Status: v1alpha1.PeerStatus{Phase: phase}}
		if gone(p) {
			p.Status.Removal = &v1alpha1.PeerRemovalResult{Evidence: v1alpha1.EvidenceAsserted, Heir: heir}
		}
		return change{object: p}
	}
	lease := func(name, holder, cut string) change {
		return change{object: &coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.LeasePrefix + name, Annotations: map[string]string{v1alpha1.CutOffAnnotation: cut}},
			Spec:       coordinationv1.LeaseSpec{HolderIdentity: &holder},
		}}
	}
	owned := func(cidr string, owner *v1alpha1.PeerReference, epoch int64) change {
		name, _, _ := strings.Cut(cidr, "/")
		return change{object: &v1alpha1.AddressRange{
			ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("r-" + name)},
			Spec:       v1alpha1.AddressRangeSpec{CIDR: cidr, Owner: owner, Epoch: epoch},
		}}
	}
	deleted := func(c change) change { c.gone = true; return c }
	good := []change{
		peer(a, v1alpha1.PhaseActive, nil), peer(b, v1alpha1.PhaseActive, nil), lease("a", "ua/1", ""), lease("b", "ub/1", ""),
		owned("10.0.0.0/24", nil, 0), owned("10.0.0.0/24", a, 1), peer(a, v1alpha1.PhaseTransferring, b), lease("a", v1alpha1.SealedHolder, ""),
	}
	for name, c := range map[string]struct {
		changes []change
		want    string
	}{
		"a removal as it should be":  {[]change{lease("b", "ub/1", "ua"), owned("10.0.0.0/24", b, 2)}, ""},
		"not cut off":                {[]change{owned("10.0.0.0/24", b, 2)}, "had not cut off"},
		"not sealed":                 {[]change{lease("a", "ua/1", ""), lease("b", "ub/1", "ua"), owned("10.0.0.0/24", b, 2)}, "not sealed"},
		"deleted, sealed to the end": {[]change{deleted(lease("a", v1alpha1.SealedHolder, "")), lease("b", "ub/1", "ua"), owned("10.0.0.0/24", b, 2)}, ""},
		"deleted while held":         {[]change{deleted(lease("a", "ua/1", "")), lease("b", "ub/1", "ua"), owned("10.0.0.0/24", b, 2)}, "not sealed"},
		"another heir":               {[]change{lease("b", "ub/1", "ua"), owned("10.0.0.0/24", nil, 2)}, "OneHeir"},
		"epoch kept":                 {[]change{lease("b", "ub/1", "ua"), owned("10.0.0.0/24", b, 1)}, "Monotone"},
		"epoch without a new owner":  {[]change{owned("10.0.0.0/24", a, 2)}, "Monotone"},
		"overlap":                    {[]change{owned("10.0.0.128/25", b, 1)}, "Disjoint"},
		"deleted while owned":        {[]change{deleted(owned("10.0.0.0/24", a, 1))}, "NoLoss"},
		"taken from a live peer":     {[]change{peer(b, v1alpha1.PhaseActive, nil), owned("10.1.0.0/24", b, 1), owned("10.1.0.0/24", nil, 2)}, "had not sealed it"},
	} {
		h := &history{changes: append(append([]change{}, good...), c.changes...), stop: func() {}}
		_, violations := h.judge()
		if all := strings.Join(violations, "; "); c.want == "" && all != "" || !strings.Contains(all, c.want) {
			t.Errorf("%s: the judge says %q, want %q", name, all, c.want)
		}
	}
}
