// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/selvage-net/selvage/api/v1alpha1"
)

// A consistent view that is older than what a cache had shown before gives the
// cache away, and nothing else does.
func TestView_Before(t *testing.T) {
	at := func(revision string) metav1.ObjectMeta { return metav1.ObjectMeta{ResourceVersion: revision} }
	cached := View{
		Peers:  []v1alpha1.Peer{{ObjectMeta: at("7")}, {ObjectMeta: at("11")}},
		Ranges: []v1alpha1.AddressRange{{ObjectMeta: at("9")}},
	}
	if newest := cached.newest(); newest != "11" {
		t.Errorf("the newest is %s", newest)
	}
	for revision, earlier := range map[string]bool{"10": true, "9": true, "11": false, "12": false, "100": false, "": false} {
		if v := (&View{Revision: revision}); v.before(cached.newest()) != earlier {
			t.Errorf("%q: before is not to be %t", revision, !earlier)
		}
	}
	if nothing := (&View{}); (&View{Revision: "5"}).before(nothing.newest()) {
		t.Error("before nothing")
	}
}
