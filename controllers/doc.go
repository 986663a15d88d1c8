// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

// Package controllers is the shell around the pure core in
// controllers/ownership: it takes snapshots of the API, has ownership.Decide
// decide, applies the writes, each a compare-and-swap, and tells people what
// came of it in conditions, Events and metrics.
package controllers
