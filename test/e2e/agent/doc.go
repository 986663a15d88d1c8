// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

// Package agent tests the real selvage-agent and the real CNI plugin: on a real
// API server with Selvage's own rights and admission policies, on machines that
// are network namespaces of the real kernel. The controller's writes come from
// a script with the controller's rights, so that each state can be held for as
// long as a test looks at it. Faults are injected for real.
package agent
