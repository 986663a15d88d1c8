// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

// Package kubectl holds the tests of kubectl selvage: the real program against
// a real API server with the real policies. The controller's part is played by
// the tests, under the controller's own identity, so that each moment of a
// removal can be looked at for as long as it takes.
package kubectl
