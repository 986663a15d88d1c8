// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"time"

	"github.com/selvage-net/selvage/node-agent/membership"
)

// Mutation breaks a rule that the protocol rests on and that is not one of
// ownership.Rules: by what surrounds the code, which is the real one.
type Mutation string

// The mutations.
const (
	// Blind: writes overwrite whatever is there.
	Blind Mutation = "Blind"
	// DeleteByName: deletes carry neither uid nor resourceVersion.
	DeleteByName Mutation = "DeleteByName"
	// TrustCaches: controllers take their caches for consistent.
	TrustCaches Mutation = "TrustCaches"
	// TrustWatches: agents take their caches for consistent.
	TrustWatches Mutation = "TrustWatches"
	// SlowClock: the agents' clocks go much slower than the margin allows.
	SlowClock Mutation = "SlowClock"
	// SleepyClock: the agents' clocks stop while the machine is suspended.
	SleepyClock Mutation = "SleepyClock"
	// LeaveUp: agents take pods for cut off that are not. (That they look, and
	// begin anew where one is up, is a guard of its own.)
	LeaveUp Mutation = "LeaveUp"
	// HearAll: agents never stop hearing anybody.
	HearAll Mutation = "HearAll"
	// ForgetFences: who reads the disk is not told which incarnations were fenced.
	ForgetFences Mutation = "ForgetFences"
)

type clock struct {
	p    *process
	mean func() time.Duration
}

// Now is membership.Clock.Now.
func (c clock) Now() time.Duration { return c.mean() }

func (m Mutation) clock(p *process) membership.Clock {
	switch m {
	case SlowClock:
		return clock{p, func() time.Duration { return p.elapsed() * 7 / 10 }}
	case SleepyClock:
		return clock{p, func() time.Duration { return p.elapsed() - p.machine.slept(p.began) }}
	}
	return clock{p, p.elapsed}
}

// withoutFences is a record that says nothing of removals. The checks go on
// reading what there is.
func withoutFences(data []byte) []byte {
	record, err := membership.ParseRecord(data)
	if err != nil {
		return data
	}
	record.Fenced, record.Acknowledged = nil, 0
	if out, err := record.Marshal(); err == nil {
		return out
	}
	return data
}
