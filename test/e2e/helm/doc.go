// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

// Package helm tests the chart: that it renders to what config/ is, and what
// helm install, upgrade, rollback and uninstall do on a real API server.
package helm
