// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package survey

import (
	"errors"
	"fmt"
	"io"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// A watch that has run its time is no loss; one that breaks is, since it first
// broke and until something is heard again.
func TestLost(t *testing.T) {
	f := &Follower{Changed: make(chan struct{}, 1)}
	for _, err := range []error{io.EOF, fmt.Errorf("watching: %w", io.EOF), apierrors.NewResourceExpired("too old")} {
		f.broken(err)
		if _, lost := f.Lost(); lost != nil || len(f.Changed) > 0 {
			t.Errorf("%v is taken for a loss", err)
		}
	}
	refused := errors.New("connection refused")
	f.broken(refused)
	first, lost := f.Lost()
	if !errors.Is(lost, refused) || len(f.Changed) != 1 {
		t.Errorf("lost %v, %d changes", lost, len(f.Changed))
	}
	later := errors.New("still refused")
	f.broken(later)
	if since, lost := f.Lost(); !errors.Is(lost, later) || since != first {
		t.Errorf("lost %v since %v, first %v", lost, since, first)
	}
	f.heard()
	if _, lost := f.Lost(); lost != nil || len(f.Changed) != 1 {
		t.Errorf("lost %v after it was heard", lost)
	}
}

// What is asked for by a bundle can be no Secret, and nothing that could hold
// one without being the installation's.
func TestHoldingsHaveNoSecrets(t *testing.T) {
	for _, h := range Holdings() {
		if h.Kind.Kind == "Secret" {
			t.Error("Secrets are asked for")
		}
		if h.Kind.Kind == "ConfigMap" && (!h.Namespaced || !h.Labelled) {
			t.Error("ConfigMaps of others are asked for")
		}
	}
}
