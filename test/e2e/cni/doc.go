// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

// Package cni tests the CNI plugin as a runtime uses it: the real binary, the
// real agent side in a process that is killed for real, and the real kernel,
// with network namespaces for hosts and pods. It needs root and Debian's
// package containernetworking-plugins, whose plugins stand in the chain.
package cni
