// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

// Package museum keeps the list of failures that other systems shipped, each
// with the tests that show it does not happen here, and checks that those
// tests can fail: the rule that prevents the failure is taken out of a copy of
// the code, and the test must fail there.
package museum
