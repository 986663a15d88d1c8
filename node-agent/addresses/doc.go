// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

// Package addresses is a peer's local allocation: which attachment holds which
// address of the ranges that the peer owns.
//
// It is a pure core. It reads no clock, no disk and no API server; what is in
// use is told to it by whoever has read the kernel, and what is owned by
// whoever has read the API. A [Ledger] answers in about a tenth of a
// microsecond, whether its ranges are empty or nearly full.
//
// Two facts are kept apart. A holding says that an attachment has addresses:
// it is made by [Ledger.Allocate] or [Ledger.Hold] and ends by
// [Ledger.Release], whatever becomes of the range. A range says what may be
// handed out: it comes and goes by [Ledger.SetRanges]. So a pod whose range is
// taken away still counts, and a range that comes back finds its pods counted.
package addresses
