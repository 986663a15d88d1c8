// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

// Package quickstart does what a stranger does: it types the commands of
// docs/quickstart.md, on the cluster that they make, and then those of
// docs/install.md, With Helm, on the same nodes. Nothing is typed that the
// pages do not say.
package quickstart
