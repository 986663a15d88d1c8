// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package agent

import (
	"testing"

	"github.com/selvage-net/selvage/node-agent/membership"
	"github.com/selvage-net/selvage/test/e2e/await"
)

// Two nodes join, are granted ranges, and their pods talk.
func TestJoinAndServe(t *testing.T) {
	_, a, _, x, y := talking(t)
	await.Until(t, "pods to reach each other", func() error { return y.reaches(x) })
	if err := a.status(); err != nil {
		t.Error(err)
	}
	a.awaitRow(membership.Resume)
}
