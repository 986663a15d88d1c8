// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers_test

import (
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/controllers"
)

// Without the API's help, all that is read and written is known, lists too.
func TestMapper(t *testing.T) {
	mapper, err := controllers.Mapper(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for o, want := range map[runtime.Object]bool{
		&v1alpha1.AddressPool{}: false, &v1alpha1.AddressPoolList{}: false,
		&v1alpha1.AddressRange{}: false, &v1alpha1.AddressRangeList{}: false,
		&v1alpha1.Peer{}: false, &v1alpha1.PeerList{}: false,
		&v1alpha1.PeerRemoval{}: false, &v1alpha1.PeerRemovalList{}: false,
		&corev1.Node{}: false, &corev1.NodeList{}: false,
		&corev1.Pod{}: true, &corev1.PodList{}: true,
		&coordinationv1.Lease{}: true, &coordinationv1.LeaseList{}: true,
	} {
		if got, err := apiutil.IsObjectNamespaced(o, controllers.Scheme(), mapper); err != nil || got != want {
			t.Errorf("%T: namespaced %t, %v", o, got, err)
		}
	}
}
