// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package standalone

import (
	"os"
	"sync/atomic"
	"syscall"

	"github.com/selvage-net/selvage/node-agent/cniserver"
	"github.com/selvage-net/selvage/node-agent/datapath"
)

// Steps are the places between two steps of ADD and DEL at which an agent can
// be made to kill itself.
var Steps = map[string][]string{
	"ADD": {"before allocating", "before attaching", "after attaching", "before answering ADD"},
	"DEL": {"before detaching", "after detaching"},
}

// steps kills the process at one of them.
type steps struct {
	at    string
	asked atomic.Int64
}

func (s *steps) reach(step string) {
	if s.at == step {
		// Nothing is flushed, closed or deferred: the power cord.
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

// gate is asked twice in an ADD: before allocating, and before the answer.
func (s *steps) gate() {
	if s.asked.Add(1)%2 == 1 {
		s.reach("before allocating")
	} else {
		s.reach("before answering ADD")
	}
}

// stepping is the real datapath with steps around what changes it.
type stepping struct {
	cniserver.Kernel
	steps *steps
}

func (k *stepping) Attach(r datapath.AttachRequest) (datapath.Interfaces, error) {
	k.steps.reach("before attaching")
	defer k.steps.reach("after attaching")
	return k.Kernel.Attach(r)
}

func (k *stepping) Detach(network, sandbox, ifname string) error {
	k.steps.reach("before detaching")
	defer k.steps.reach("after detaching")
	return k.Kernel.Detach(network, sandbox, ifname)
}
