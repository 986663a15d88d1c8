// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/selvage-net/selvage/node-agent/cniserver/wire"
)

// plugin is one of the two that are compared.
type plugin struct {
	name string
	// binary is executed with conf on its standard input.
	binary, conf, path string
	env                []string
	// agent is the process that does a part of the work; 0 if there is none.
	agent int
}

func ours(s *stage, o options) plugin {
	return plugin{
		name: "selvage", binary: o.plugin, path: o.debian, agent: s.agent.PID(),
		conf: `{"cniVersion":"1.0.0","name":"selvage","type":"selvage"}`,
		env:  []string{wire.RunDirEnv + "=" + s.dir},
	}
}

func theirs(s *stage, o options) plugin {
	return plugin{
		name: "bridge + host-local", binary: o.debian + "/bridge", path: o.debian,
		conf: fmt.Sprintf(`{"cniVersion":"1.0.0","name":"bridged","type":"bridge","bridge":"bench0","isGateway":true,
			"ipam":{"type":"host-local","dataDir":%q,"ranges":[[{"subnet":"10.64.0.0/20"}]],"routes":[{"dst":"0.0.0.0/0"}]}}`, s.dir),
	}
}

// call runs the plugin as a runtime does and returns how long that took.
func (p *plugin) call(command, id, netns string) (time.Duration, error) {
	cmd := exec.Command(p.binary)
	cmd.Env = append(append(os.Environ(), p.env...), "CNI_COMMAND="+command, "CNI_CONTAINERID="+id,
		"CNI_NETNS="+netns, "CNI_IFNAME=eth0", "CNI_PATH="+p.path,
		"CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME="+id)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader([]byte(p.conf)), &stdout, &stderr
	start := time.Now()
	err := cmd.Run()
	took := time.Since(start)
	if err != nil {
		return 0, fmt.Errorf("%s %s: %w: %s %s", p.name, command, err, stdout.String(), stderr.String())
	}
	return took, nil
}

// worker is a thread in the host's network namespace, as a runtime's are.
type worker struct {
	jobs chan func()
}

func newWorker(netns string) (*worker, error) {
	w := &worker{jobs: make(chan func())}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with it
		ns, err := os.Open(netns)
		if err == nil {
			err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
			_ = ns.Close()
		}
		ready <- err
		for job := range w.jobs {
			job()
		}
	}()
	return w, <-ready
}

func (w *worker) close() { close(w.jobs) }
