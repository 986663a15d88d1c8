// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package controller

import (
	"context"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/controllers"
	"github.com/selvage-net/selvage/controllers/ownership"
)

// instant reads one moment of the cluster: its first LIST chooses a revision
// of etcd, and all others are of exactly that one. So an invariant that spans
// kinds can be checked while everybody writes.
type instant struct {
	client.Reader
	revision string
}

func (i *instant) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	if i.revision != "" {
		opts = append(opts, &client.ListOptions{Raw: &metav1.ListOptions{
			ResourceVersion: i.revision, ResourceVersionMatch: metav1.ResourceVersionMatchExact,
		}})
	}
	if err := i.Reader.List(ctx, list, opts...); err != nil {
		return err
	}
	if i.revision == "" {
		i.revision = list.GetResourceVersion()
	}
	return nil
}

// takeInstant is a snapshot of one moment.
func takeInstant(ctx context.Context, admin client.Reader) (*controllers.View, error) {
	at := &instant{Reader: admin}
	r := controllers.Reader{Cached: at, Direct: at, Namespace: namespace}
	return r.Consistent(ctx, nil)
}

// audit checks every invariant at one moment.
func audit(t *testing.T, admin client.Reader) *controllers.View {
	t.Helper()
	v, err := takeInstant(t.Context(), admin)
	if err != nil {
		t.Fatal(err)
	}
	for _, violation := range ownership.Check(&v.Snapshot) {
		t.Errorf("broken: %v", violation)
	}
	for _, m := range v.Malformed {
		t.Errorf("malformed: %s %s: %v", m.Kind, m.Name, m.Err)
	}
	return v
}
