// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package apiserver

import (
	"testing"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/hack/cluster/controlplane"
	"github.com/selvage-net/selvage/test/sim/apiserver/conformance"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestConformance: what the simulated API server does is what a real one does.
// There are no admission policies here, which the simulated one does not have.
func TestConformance(t *testing.T) {
	cp, err := controlplane.Start(t.Context(), controlplane.Options{Out: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cp.Stop)
	if err := cp.Install(t.Context(), "../../../config/crd"); err != nil {
		t.Fatal(err)
	}
	all := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{scheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(all); err != nil {
			t.Fatal(err)
		}
	}
	api, err := client.NewWithWatch(cp.Config, client.Options{Scheme: all})
	if err != nil {
		t.Fatal(err)
	}
	for _, namespace := range []string{conformance.Namespace, conformance.Elsewhere} {
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "default"}}
		if err := api.Create(t.Context(), account); err != nil {
			t.Fatal(err)
		}
	}
	open := func(*testing.T) conformance.API { return api }
	t.Run("Server", func(t *testing.T) { conformance.Run(t, open) })
	t.Run("Rules", func(t *testing.T) { conformance.RunRules(t, open) })
}
