// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package checkup

import (
	"testing"

	"go.uber.org/goleak"
)

// TestMain fails if anything leaves a goroutine behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
