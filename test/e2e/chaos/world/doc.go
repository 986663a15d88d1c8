// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package world is a cluster whose every part can be broken: etcd, two API
// servers behind one address for each client, two controllers, and machines
// that are network namespaces, with the real agent, the real CNI plugin and
// something that runs pods as a kubelet does. All programs are real. What is
// seen of addresses goes into a history.
package world
