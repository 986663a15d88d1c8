// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/selvage-net/selvage/node-agent/datapath"
)

// FuzzFlags: whatever the flags say, they are refused with the name of one of
// them, or they are such as an agent can work with.
func FuzzFlags(f *testing.F) {
	f.Add("--node-name=host1")
	f.Add("--node-name=host1 --lease-duration=1500ms")
	f.Add("--node-name=host1 --headroom=-2 --vxlan-port=70000 --mtu=-1")
	f.Add("--lease-duration -5s --vxlan-id 0x1000000 -v=maybe --log-format=xml")
	f.Fuzz(func(t *testing.T, line string) {
		o := &options{leaseDuration: time.Minute, headroom: -1, encapsulation: datapath.VXLAN, vxlanPort: 4789, vxlanID: 1, logFormat: "text"}
		flags := pflag.NewFlagSet("selvage-agent", pflag.ContinueOnError)
		flags.SetOutput(discard{})
		o.addTo(flags)
		o.addServingTo(flags)
		err := flags.Parse(strings.Fields(line))
		if err == nil {
			err = o.validate()
		}
		if err != nil {
			if !strings.Contains(err.Error(), "-") && !errors.Is(err, pflag.ErrHelp) {
				t.Errorf("%q: the error names no flag: %v", line, err)
			}
			return
		}
		if o.nodeName == "" || o.leaseDuration < 3*time.Second || o.headroom < -1 {
			t.Errorf("%q was taken as %+v", line, o)
		}
		if fake, err := datapath.NewFake(datapath.Options{Encapsulation: o.encapsulation, Port: o.vxlanPort, VNI: o.vxlanID, MTU: o.mtu}); err == nil {
			_ = fake.Close()
		} else if !strings.Contains(err.Error(), "--") {
			t.Errorf("%q: the error names no flag: %v", line, err)
		}
	})
}

// discard is where pflag prints what it also returns.
type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }
