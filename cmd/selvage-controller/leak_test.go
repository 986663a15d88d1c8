// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"

	"go.uber.org/goleak"
)

// eventsOwn waits for Events until the process ends, unless it has led.
var eventsOwn = goleak.IgnoreAnyFunction("k8s.io/apimachinery/pkg/watch.(*Broadcaster).loop")

// TestMain fails if anything leaves a goroutine behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m, eventsOwn) }
