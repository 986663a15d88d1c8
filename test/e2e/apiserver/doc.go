// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

// Package apiserver shows that the simulated API server of test/sim is like a
// real one: it runs the same conformance cases on a real kube-apiserver.
package apiserver
