// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package node gathers the facts of the node it runs on, for package diagnosis
// to judge. It reads, and changes nothing.
package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/selvage-net/selvage/node-agent/datapath"
	"github.com/selvage-net/selvage/node-agent/diagnosis"
)

// Config says where to look.
type Config struct {
	Node, Version string
	Datapath      datapath.Options
	// Proc is /proc, and Sys is /sys, of the host's network namespace.
	Proc, Sys string
	// ConfDir and BinDir are the runtime's; empty: they are not looked at.
	ConfDir, BinDir string
	// CRISocket is the container runtime's; empty: it is not asked.
	CRISocket string
	// Port is where the agents of all nodes answer TCP; 0: nobody is asked.
	Port int
	// Agent asks the agent that runs here.
	Agent func(context.Context) diagnosis.AgentState `json:"-"`
}

// collector gathers one set of facts.
type collector struct {
	from Config
	*diagnosis.Facts
}

// Collect gathers all that can be had. What cannot is named in Unread.
func Collect(ctx context.Context, c Config) *diagnosis.Facts {
	o := c.Datapath
	f := &collector{c, &diagnosis.Facts{
		Node: c.Node, Version: c.Version, Unread: map[diagnosis.Part]string{},
		Options: diagnosis.Options{Encapsulation: o.Encapsulation, Device: o.Device, Port: o.Port, VNI: o.VNI},
	}}
	f.Agent = c.agent(ctx)
	f.part(f.inspect, diagnosis.Features, diagnosis.Attachments)
	f.part(f.links, diagnosis.Links)
	f.part(f.routes, diagnosis.Routes)
	f.part(f.underlay, diagnosis.Underlay)
	f.part(f.sysctls, diagnosis.Sysctls)
	f.part(f.ports, diagnosis.Ports)
	f.part(f.clock, diagnosis.Clock)
	f.part(f.conntrack, diagnosis.Conntrack)
	f.part(f.cni, diagnosis.CNI)
	f.part(func() error { return f.sandboxes(ctx) }, diagnosis.Sandboxes)
	f.part(func() error { return f.reach(ctx) }, diagnosis.Reach)
	return f.Facts
}

func (c Config) agent(ctx context.Context) diagnosis.AgentState {
	if c.Agent == nil {
		return diagnosis.AgentState{Why: "nobody said how to ask it"}
	}
	return c.Agent(ctx)
}

// part gathers parts, or notes why they are missing.
func (c *collector) part(gather func() error, parts ...diagnosis.Part) {
	if err := gather(); err != nil {
		for _, p := range parts {
			c.Unread[p] = err.Error()
		}
	}
}

func (c *collector) inspect() error {
	seen, err := datapath.Inspect(c.from.Datapath)
	if err != nil {
		return err
	}
	c.Lacking = seen.Lacking
	if seen.Filter != nil {
		c.NoFilter = seen.Filter.Error()
	}
	for _, a := range seen.Attachments {
		c.Attachments = append(c.Attachments, diagnosis.Attachment{
			Interface: a.HostIf, Sandbox: a.Sandbox, Pod: a.Pod, Addresses: a.Addresses, Dying: a.Dying,
		})
	}
	return nil
}

// sysctls reads those that the checks ask for.
func (c *collector) sysctls() error {
	c.Sysctls = map[string]string{}
	names := []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"}
	filters, err := filepath.Glob(filepath.Join(c.from.Proc, "sys/net/ipv4/conf/*/rp_filter"))
	if err != nil {
		return err
	}
	for _, path := range filters {
		name, _ := strings.CutPrefix(path, filepath.Join(c.from.Proc, "sys/net")+"/")
		names = append(names, name)
	}
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(c.from.Proc, "sys/net", name))
		switch {
		case errors.Is(err, fs.ErrNotExist): // no IPv6, or an interface that has gone
		case err != nil:
			return err
		default:
			c.Sysctls[name] = strings.TrimSpace(string(text))
		}
	}
	return nil
}

// ports looks whether a program has the tunnels' port. A socket on it is the
// kernel's own if a tunnel device of that port is up.
func (c *collector) ports() error {
	for _, l := range c.Links {
		if l.VXLAN && l.Up && l.Port == c.Options.Port {
			return nil
		}
	}
	want := fmt.Sprintf(":%04X", c.Options.Port)
	for _, name := range []string{"udp", "udp6"} {
		text, err := os.ReadFile(filepath.Join(c.from.Proc, "net", name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(text)) {
			fields := strings.Fields(line)
			if len(fields) > 1 && strings.HasSuffix(fields[1], want) {
				c.PortTaken = true
			}
		}
	}
	return nil
}

// clock reads how the kernel's clock is steered. CLOCK_BOOTTIME, by which
// leases are timed, runs at the same rate (clock_gettime(2)).
func (c *collector) clock() error {
	var now unix.Timex
	if _, err := unix.Adjtimex(&now); err != nil {
		return fmt.Errorf("reading the clock's rate: %w", err)
	}
	const nominal = 10000 // microseconds between ticks, at 100 Hz as user space sees it
	c.Clock.PartsPerMillion = (float64(now.Tick)/nominal-1)*1e6 + float64(now.Freq)/65536
	source, err := os.ReadFile(filepath.Join(c.from.Sys, "devices/system/clocksource/clocksource0/current_clocksource"))
	if err == nil {
		c.Clock.Source = strings.TrimSpace(string(source))
	}
	return nil
}

func (c *collector) conntrack() error {
	for _, of := range []struct {
		name string
		to   *int
	}{{"nf_conntrack_count", &c.Conntrack.Count}, {"nf_conntrack_max", &c.Conntrack.Max}} {
		text, err := os.ReadFile(filepath.Join(c.from.Proc, "sys/net/netfilter", of.name))
		if errors.Is(err, fs.ErrNotExist) {
			return errors.New("this kernel tracks no connections")
		}
		if err != nil {
			return err
		}
		if *of.to, err = strconv.Atoi(strings.TrimSpace(string(text))); err != nil {
			return err
		}
	}
	return nil
}
