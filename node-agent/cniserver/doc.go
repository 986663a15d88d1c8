// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

// Package cniserver is the agent's side of the CNI plugin: it takes calls from
// a unix socket and turns them into allocations and interfaces.
//
// Nothing on its paths asks the API server or writes to a disk. The ledger
// knows what is owned, the kernel what is in use.
//
// The order of steps is what makes a crash between any two of them harmless:
//
//   - ADD allocates, attaches, asks once more whether it may, and answers. Up to
//     Attach nothing outlives the agent; from then on the link says what it
//     holds, and its going frees it.
//   - DEL detaches, and frees only what the kernel does not hear any more.
//
// All steps of one attachment, the going of its link included, take its turn
// one after the other.
package cniserver
