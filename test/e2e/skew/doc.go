// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

// Package skew tests this version beside the one before it, which is built from
// this repository's own history: kinds, controllers and agents of either, in
// every order, upgraded and rolled back under traffic. docs/upgrade.md says what
// is promised.
package skew
