// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

// FuzzFlags: whatever the flags say, they are refused with the name of one of
// them, or they are such as a controller can work with.
func FuzzFlags(f *testing.F) {
	f.Add("--leader-elect --namespace selvage-system")
	f.Add("--max-removals=NaN")
	f.Add("--max-removals=1e400 --lease-duration=0 --grace-period=-1h")
	f.Add("--kube-api-qps=+Inf --kube-api-burst=-1 --log-format=xml")
	f.Fuzz(func(t *testing.T, line string) {
		s := &settings{}
		flags := pflag.NewFlagSet("selvage-controller", pflag.ContinueOnError)
		flags.SetOutput(io.Discard)
		s.addFlags(flags)
		err := flags.Parse(strings.Fields(line))
		if err == nil {
			err = s.check()
		}
		if err != nil {
			if !strings.Contains(err.Error(), "-") && !errors.Is(err, pflag.ErrHelp) {
				t.Errorf("%q: the error names no flag: %v", line, err)
			}
			return
		}
		c := s.config()
		if !(c.MaxRemovals > 0 && c.MaxRemovals <= 1) || c.LeaseDuration < time.Second || c.GracePeriod < time.Second || !(s.qps > 0) || s.burst <= 0 {
			t.Errorf("%q was taken as %+v, %+v", line, s, c)
		}
	})
}
