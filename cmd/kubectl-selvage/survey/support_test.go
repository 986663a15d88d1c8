// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package survey

import "testing"

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
