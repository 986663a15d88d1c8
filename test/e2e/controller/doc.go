// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

// Package controller holds the controller's tests on a real API server: the
// node agents are scripted, but speak through the real API with real tokens
// that are bound to their pods.
package controller
