// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"time"

	"golang.org/x/sys/unix"
)

// Clock gives elapsed time. It must go on while the machine is suspended.
type Clock interface {
	// Now is the time since some fixed moment in the past.
	Now() time.Duration
}

// BootClock is CLOCK_BOOTTIME, which nobody sets and which counts the time
// that the machine was suspended.
type BootClock struct{}

// Now is the time since the machine was booted.
func (BootClock) Now() time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		panic("membership: no CLOCK_BOOTTIME: " + err.Error()) // Linux has had it since 2.6.39
	}
	return time.Duration(now.Nano())
}
