// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package rules_test

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/test/sim/apiserver"
	"github.com/selvage-net/selvage/test/sim/apiserver/rules"
)

const definitions = "../../../../config/crd/bases"

func load(t testing.TB) func(before, after client.Object) error {
	t.Helper()
	admit, err := rules.Load(definitions)
	if err != nil {
		t.Fatal(err)
	}
	return admit
}

// TestNoDefinitions: a wrong folder is not taken for one without rules.
func TestNoDefinitions(t *testing.T) {
	if _, err := rules.Load(t.TempDir()); err == nil || !strings.Contains(err.Error(), "there are no definitions") {
		t.Errorf("got %v", err)
	}
}

// TestRatcheting: what was stored before there was a rule may stay, but not
// change. What cases on both servers are about cannot come about on a real one.
func TestRatcheting(t *testing.T) {
	s := apiserver.New()
	made, err := s.Create(&v1alpha1.AddressPool{
		ObjectMeta: metav1.ObjectMeta{Name: "old"}, Spec: v1alpha1.AddressPoolSpec{CIDR: "10.33.0.0/12"},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Admit = load(t)
	next := made.DeepCopyObject().(*v1alpha1.AddressPool)
	next.Spec.RangePrefixLength = new(int32(24))
	if _, err := s.Update(next.DeepCopy(), false); err != nil {
		t.Errorf("a change of something else is refused: %v", err)
	}
	if _, err := s.Create(&v1alpha1.AddressPool{
		ObjectMeta: metav1.ObjectMeta{Name: "new"}, Spec: v1alpha1.AddressPoolSpec{CIDR: "10.33.0.0/12"},
	}); err == nil || !strings.Contains(err.Error(), "host bits are set") {
		t.Errorf("another such object: %v", err)
	}
}

// BenchmarkWrite is what a write costs with and without the rules: the status
// of a range, as its agent reports it, and the spec of a peer.
func BenchmarkWrite(b *testing.B) {
	for _, with := range []string{"without", "with"} {
		s := apiserver.New()
		if with == "with" {
			s.Admit = load(b)
		}
		owned, err := s.Create(&v1alpha1.AddressRange{
			ObjectMeta: metav1.ObjectMeta{Name: "10.0.0.0"}, Spec: v1alpha1.AddressRangeSpec{Pool: "default", CIDR: "10.0.0.0/24"},
		})
		if err != nil {
			b.Fatal(err)
		}
		peer, err := s.Create(&v1alpha1.Peer{
			ObjectMeta: metav1.ObjectMeta{Name: "host1"}, Spec: v1alpha1.PeerSpec{NodeName: "host1", InstanceID: "instance-1"},
		})
		if err != nil {
			b.Fatal(err)
		}
		b.Run(with+"/range status", func(b *testing.B) {
			owned = repeat(b, s, owned, true, func(o client.Object) { o.(*v1alpha1.AddressRange).Status.Used++ })
		})
		b.Run(with+"/peer", func(b *testing.B) {
			peer = repeat(b, s, peer, false, func(o client.Object) { o.SetAnnotations(map[string]string{"at": o.GetResourceVersion()}) })
		})
	}
}

func repeat(b *testing.B, s *apiserver.Server, o client.Object, status bool, change func(client.Object)) client.Object {
	b.Helper()
	b.ReportAllocs()
	for b.Loop() {
		next := o.DeepCopyObject().(client.Object)
		change(next)
		var err error
		if o, err = s.Update(next, status); err != nil {
			b.Fatal(err)
		}
	}
	return o
}
