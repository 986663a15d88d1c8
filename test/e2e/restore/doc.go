// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package restore tests what happens when etcd is restored from a backup while
// everything runs: etcd, API servers, controllers, agents and CNI calls are
// real, machines are network namespaces.
package restore
