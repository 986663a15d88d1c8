// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

// Package gitops tests what docs/gitops.md says: pipelines that declare
// removals in git, on a real API server, with the real controller and agents.
// Flux's own engine applies, prunes and waits; what Argo CD does is done by
// kubectl, as it does. The manifests, and how they are applied, are read out of
// that page.
package gitops
