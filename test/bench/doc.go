// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

// Command bench measures CNI ADD and DEL, called as a runtime calls them, of
// Selvage beside Debian's bridge and host-local: interleaved rounds on the same
// machine, of which only ratios say anything. It needs root.
package main
