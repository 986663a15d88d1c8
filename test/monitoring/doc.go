// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

// Package monitoring tests config/monitoring with the Prometheus library: its
// alerts over series made up for them (testdata/alerts), its dashboard over
// what real programs served (testdata/recording), and both against the metrics
// that there are. It is a module of its own, since that library is large; go
// test's cache does not look beyond a module, so run it with -count=1.
package monitoring
