// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"errors"
	"slices"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"

	"github.com/selvage-net/selvage/api/v1alpha1"
)

// errCloned: two processes believe that they are this incarnation. Which of
// them is right only a person can say.
var errCloned = errors.New("Cloned: another agent runs with this machine's identity. " +
	"Stop one of the two, and move its state directory away if it is on another machine; then start this agent again")

// holder is who holds a Lease.
type holder struct {
	sealed   bool
	uid, run string
}

func holderOf(lease *coordinationv1.Lease) holder {
	if lease == nil || lease.Spec.HolderIdentity == nil {
		return holder{}
	}
	if *lease.Spec.HolderIdentity == v1alpha1.SealedHolder {
		return holder{sealed: true}
	}
	uid, run, _ := strings.Cut(*lease.Spec.HolderIdentity, "/")
	return holder{uid: uid, run: run}
}

// durationOf is what was written in the renewal, never a flag of the reader's;
// otherwise, for a Lease without one, is what it is taken for.
func durationOf(lease *coordinationv1.Lease, otherwise time.Duration) time.Duration {
	if lease.Spec.LeaseDurationSeconds == nil {
		return otherwise
	}
	return time.Duration(*lease.Spec.LeaseDurationSeconds) * time.Second
}

func annotate(lease *coordinationv1.Lease, key, value string) {
	if value == "" {
		delete(lease.Annotations, key)
		return
	}
	if lease.Annotations == nil {
		lease.Annotations = map[string]string{}
	}
	lease.Annotations[key] = value
}

// joinUIDs is the form of a report: sorted, by commas.
func joinUIDs(uids []string) string {
	return strings.Join(slices.Sorted(slices.Values(uids)), ",")
}
