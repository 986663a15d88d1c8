// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package datapath

import "errors"

// peerProblems is what was left out of a plan that was carried out.
type peerProblems struct{ error }

func (p peerProblems) Unwrap() error { return p.error }

// IsPeerProblem reports whether err, from Set, says no more than that some
// peers were left out: those are neither heard nor routed to, and all else is
// as desired.
func IsPeerProblem(err error) bool {
	var alone peerProblems
	return errors.As(err, &alone)
}

// setError is Set's: what failed, and what was left out.
func setError(err, problems error) error {
	if err == nil && problems != nil {
		return peerProblems{problems}
	}
	return errors.Join(err, problems)
}
