// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

// Package membership is a node's part in the network: who it is, whether it
// may allocate, what it owns, and whom it hears.
//
// The pure parts come first: what the disk remembers ([Record]), what to do
// about what the API and the disk say ([Decide]), and how the network looks
// after each view of it (World). Around them is a shell, [Agent]: one loop
// that looks, decides and acts, and beside it the renewals of the Lease.
//
// What an agent may never get wrong:
//
//   - It resumes an incarnation only if its disk says so and this is the same
//     machine; everything else waits, contends or starts from scratch.
//   - It holds a Lease only by a write on exactly the one that it read before
//     the LISTs that it trusts, never by creating one.
//   - It allocates only while its own clock shows that its Lease holds.
//   - It says that a removed peer is cut off only after the kernel has done so.
//   - It acts on no lower epoch of a range than it has seen.
package membership
