// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package nodes

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// packages are Debian's names of what nodes take from the machine.
var packages = []struct{ program, name string }{
	{"runc", "runc"}, {"nft", "nftables"}, {"iptables", "iptables"}, {"ip", "iproute2"}, {"mount", "mount"}, {"nsenter", "util-linux"},
}

// require says all that is missing at once, and how to get it.
func require(o *Options) error {
	if os.Geteuid() != 0 {
		return errors.New("nodes are made of namespaces, mounts and control groups, which takes root: run it with sudo")
	}
	var missing []string
	for _, p := range packages {
		if _, err := exec.LookPath(p.program); err != nil && !slices.Contains(missing, p.name) {
			missing = append(missing, p.name)
		}
	}
	if _, err := o.pluginsDir(); err != nil {
		if o.Plugins != "" {
			return err
		}
		missing = append(missing, "containernetworking-plugins")
	}
	if len(missing) > 0 {
		return fmt.Errorf("nodes need programs that are not here: apt-get install %s", strings.Join(missing, " "))
	}
	if _, err := os.Stat("/proc/sys/net/ipv6"); err != nil {
		return errors.New("the underlay has both families, and this kernel has no IPv6: boot without ipv6.disable=1")
	}
	return nil
}
