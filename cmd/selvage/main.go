// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

// Command selvage is the CNI plugin. It hands each call to the node's agent and
// prints the agent's answer.
//
// It is run for every pod, so it is made to start fast: it imports nothing that
// prepares itself when a process starts (fmt, encoding/json, net and even os
// would), and asks the kernel itself.
package main

import (
	"errors"
	"syscall"

	"github.com/selvage-net/selvage/node-agent/cniserver/wire"
)

const (
	// patience bounds the wait for an agent that took the call and is silent.
	patience = 60
	// pauses, of 20 ms each, bound the wait for one that is being restarted: a
	// minute, of the four that the kubelet gives a sandbox by default.
	pauses = 3000

	codeTryAgain     = "11"
	codeDecode       = "6"
	codeNotAvailable = "50"
)

// version is set by the linker.
var version = "dev"

func main() {
	reply, ok := run()
	if !ok {
		reply.Exit = 1
	}
	if len(reply.Stdout) > 0 && writeAll(1, reply.Stdout) != nil && reply.Exit == 0 {
		reply.Exit = 1
	}
	syscall.Exit(int(reply.Exit))
}

func run() (wire.Reply, bool) {
	request := wire.Request{
		Command: env("CNI_COMMAND"), ContainerID: env("CNI_CONTAINERID"), NetNS: env("CNI_NETNS"),
		IfName: env("CNI_IFNAME"), Args: env("CNI_ARGS"),
	}
	if request.Command == "" {
		return usage(), false
	}
	dir := env(wire.RunDirEnv)
	if dir == "" {
		dir = wire.DefaultRunDir
	}
	var err error
	if request.Stdin, err = readInput(); err != nil {
		return failure(codeDecode, "cannot read the network configuration from standard input", err), false
	}
	frame, err := wire.AppendRequest(make([]byte, 0, 512+len(request.Stdin)), &request)
	if err != nil {
		return failure(codeDecode, "cannot hand the call to the agent", err), false
	}
	socket, err := dial(dir + "/" + wire.Socket)
	for waited := 0; err != nil && worthWaiting(request.Command, dir, waited); waited++ {
		pause()
		socket, err = dial(dir + "/" + wire.Socket)
	}
	if err != nil {
		return away(request.Command, dir, err)
	}
	reply, err := exchange(socket, frame)
	if err != nil {
		return away(request.Command, dir, err)
	}
	return reply, true
}

// worthWaiting says whether an agent that does not listen will do so soon: one
// that was there a moment ago is being restarted. A runtime that gets an error
// begins again with a new sandbox, and takes its time about it.
func worthWaiting(command, dir string, waited int) bool {
	return command == "ADD" && waited < pauses && fresh(dir+"/"+wire.Alive)
}

// away is the answer without an agent.
func away(command, dir string, cause error) (wire.Reply, bool) {
	switch command {
	case "VERSION":
		return wire.Reply{Stdout: []byte(`{"cniVersion":"1.1.0","supportedVersions":` + wire.SupportedVersions + "}\n")}, true
	case "DEL":
		// Nothing can leak: an address is held by the interface that has it, and
		// the runtime takes the interface away with the network namespace.
		if !errors.Is(cause, syscall.EAGAIN) {
			return wire.Reply{}, true
		}
	case "STATUS":
		// An error takes the node's pods out of Services: a restart is none.
		if !errors.Is(cause, syscall.EAGAIN) && fresh(dir+"/"+wire.Alive) {
			return wire.Reply{}, true
		}
		return failure(codeNotAvailable, "selvage-agent has been away for more than a minute (see its DaemonSet's pod on this node)", cause), false
	}
	return failure(codeTryAgain, "selvage-agent does not answer: it is being restarted, or does not run on this node (see its DaemonSet)", cause), false
}

// fresh reports whether the agent gave a sign of life lately.
func fresh(alive string) bool {
	var file syscall.Stat_t
	var now syscall.Timeval
	if syscall.Stat(alive, &file) != nil || syscall.Gettimeofday(&now) != nil {
		return false
	}
	return now.Sec-file.Mtim.Sec <= wire.AliveSeconds
}

func usage() wire.Reply {
	return wire.Reply{Stdout: []byte(`{"cniVersion":"1.1.0","code":4,"msg":"required env variables missing",` +
		`"details":"CNI_COMMAND is not set: selvage (` + version + `) is a CNI plugin, to be called by a container runtime"}` + "\n")}
}

// failure is a CNI error. The texts need no escaping: they are constants, and
// the kernel's.
func failure(code, text string, cause error) wire.Reply {
	return wire.Reply{Stdout: []byte(`{"cniVersion":"1.1.0","code":` + code + `,"msg":"` + text + `","details":"` + cause.Error() + `"}` + "\n")}
}

func env(name string) string {
	value, _ := syscall.Getenv(name)
	return value
}
