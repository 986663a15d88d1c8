// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package controlplane

import (
	"net/netip"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// A second API server shows what was written through the first, to clients with
// the first one's credentials, and goes on when that one has died.
func TestReplica(t *testing.T) {
	cp := start(t, Options{})
	component, address, err := cp.Replica(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cp.NewNode(t.Context(), "host1", netip.MustParseAddr("192.0.2.1")); err != nil {
		t.Fatal(err)
	}
	cp.APIServer.Kill()
	config := rest.CopyConfig(cp.Config)
	config.Host = "https://" + address.String()
	other, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.CoreV1().Nodes().Get(t.Context(), "host1", metav1.GetOptions{}); err != nil {
		t.Errorf("through %s: %v", component.Name, err)
	}
	component.Kill()
	if _, err := other.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{}); err == nil {
		t.Error("both are dead, and yet one answers")
	}
}
