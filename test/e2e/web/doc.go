// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

// Package web holds the tests of kubectl selvage web: the real program and a
// real browser against a real API server with the real policies. The tests play
// the controller's part, under its own identity, and take the pictures of the
// documentation.
package web
