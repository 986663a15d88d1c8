// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package conformance_test

import (
	"testing"

	"github.com/selvage-net/selvage/test/sim/apiserver"
	"github.com/selvage-net/selvage/test/sim/apiserver/conformance"
	"github.com/selvage-net/selvage/test/sim/apiserver/rules"
)

// TestSimulated: the simulated API server does what the real one does. The same
// cases run on the real one in test/e2e/apiserver.
func TestSimulated(t *testing.T) {
	conformance.Run(t, func(*testing.T) conformance.API { return conformance.Simulated(apiserver.New()) })
}

// TestSimulatedRules: with the rules of the definitions it passes the same, and
// the cases about those.
func TestSimulatedRules(t *testing.T) {
	admit, err := rules.Load("../../../../config/crd/bases")
	if err != nil {
		t.Fatal(err)
	}
	open := func(*testing.T) conformance.API {
		s := apiserver.New()
		s.Admit = admit
		return conformance.Simulated(s)
	}
	t.Run("Server", func(t *testing.T) { conformance.Run(t, open) })
	t.Run("Rules", func(t *testing.T) { conformance.RunRules(t, open) })
}
