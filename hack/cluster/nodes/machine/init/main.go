// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Command init is the first process of a machine made of namespaces: see
// package machine. The node tool builds and starts it; nobody else can use it.
package main

import (
	"fmt"
	"os"

	"github.com/selvage-net/selvage/hack/cluster/nodes/machine"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: init join|boot SPEC (it is started by hack/cluster)")
		os.Exit(2)
	}
	stages := map[string]func(string) error{"join": machine.Join, "boot": machine.Boot}
	stage, ok := stages[os.Args[1]]
	if !ok {
		fmt.Fprintf(os.Stderr, "no stage %q\n", os.Args[1])
		os.Exit(2)
	}
	if err := stage(os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}
