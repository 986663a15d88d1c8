// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package conformance_test

import (
	"testing"

	"github.com/selvage-net/selvage/test/sim/apiserver"
	"github.com/selvage-net/selvage/test/sim/apiserver/conformance"
)

// TestSimulated: the simulated API server does what the real one does. The same
// cases run on the real one in test/e2e/apiserver.
func TestSimulated(t *testing.T) {
	conformance.Run(t, func(*testing.T) conformance.API { return conformance.Simulated(apiserver.New()) })
}
