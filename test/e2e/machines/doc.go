// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package machines tests hack/cluster's nodes by themselves, with the reference
// CNI: that they are real, that what happens to machines happens to them, and
// that nothing is left over.
package machines
