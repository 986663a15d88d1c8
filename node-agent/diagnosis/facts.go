// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package diagnosis

import (
	"net/netip"
	"time"
)

// Part is a part of the facts that is gathered by itself.
type Part string

// The parts.
const (
	Agent       Part = "agent"
	Features    Part = "features"
	Sysctls     Part = "sysctls"
	Links       Part = "links"
	Ports       Part = "ports"
	Routes      Part = "routes"
	Underlay    Part = "underlay"
	Attachments Part = "attachments"
	Sandboxes   Part = "sandboxes"
	CNI         Part = "cni"
	Clock       Part = "clock"
	Conntrack   Part = "conntrack"
	Reach       Part = "reach"
)

// Facts are what was seen on a node.
type Facts struct {
	Node, Version string
	Options       Options
	// Unread says why a part could not be had.
	Unread map[Part]string

	Agent       AgentState
	Lacking     []string // features that can be done without
	NoFilter    string   // why the filters cannot be at all
	Sysctls     map[string]string
	Links       []Link
	PortTaken   bool // by a program, not by the kernel
	Routes      []Route
	Underlay    []Path
	Attachments []Attachment
	Sandboxes   map[string]bool // those that the runtime knows
	CNI         Folder
	Clock       Rate
	Conntrack   Table
	Reach       []Probe
}

// Options are the agent's flags.
type Options struct {
	Encapsulation, Device string
	Port, VNI             int
}

// AgentState is what the agent says at its socket.
type AgentState struct {
	Answers               bool
	Why                   string // why it does not
	Row, Refused, Waiting string
}

// Link is an interface.
type Link struct {
	Name  string
	Up    bool
	MTU   int
	VXLAN bool
	Port  int
	VNI   int
}

// Route is one of the main table.
type Route struct {
	To     netip.Prefix
	Device string
	// Ours: it has Selvage's protocol number.
	Ours bool
	// Blackhole: to a range of this node's.
	Blackhole bool
	Metric    int
}

// Path is how the kernel reaches a peer's underlay address, and where packets
// of that peer come in.
type Path struct {
	Peer    netip.Addr
	Out, In string
	MTU     int
}

// Attachment is one pod interface of ours.
type Attachment struct {
	Interface, Sandbox, Pod string
	Addresses               []netip.Addr
	MTU                     int
	Dying                   bool
}

// Folder is where the runtime looks for CNI configurations.
type Folder struct {
	Path string
	// Files are in the order in which the runtime reads them.
	Files  []Configuration
	Plugin bool // ours is installed
	Bin    string
}

// Configuration is one file of a Folder.
type Configuration struct {
	Name    string
	Network string
	Plugins []string
	Broken  string // why it cannot be read
}

// Rate is how the clock is steered (adjtimex(2)).
type Rate struct {
	// PartsPerMillion is by how much it is made to run fast.
	PartsPerMillion float64
	Source          string
}

// Table is how full a table is.
type Table struct{ Count, Max int }

// Probe is one try to reach a peer's agent by TCP. An answer of any kind, also
// a refusal, says that packets go both ways.
type Probe struct {
	Peer netip.Addr // its underlay address
	// Inside are its addresses inside the network that were tried.
	Inside []netip.Addr
	// Overlay and Underlay say whether it answered.
	Overlay, Underlay bool
	Took              time.Duration
}

func (f *Facts) lacks(p Part) bool {
	_, unread := f.Unread[p]
	return unread
}

// link finds an interface.
func (f *Facts) link(name string) (Link, bool) {
	for _, l := range f.Links {
		if l.Name == name {
			return l, true
		}
	}
	return Link{}, false
}

// encapsulates says whether there are to be tunnels.
func (f *Facts) encapsulates() bool { return f.Options.Encapsulation != "direct" }

// podMTU is that of new pods' interfaces, as the tunnel device has it.
func (f *Facts) podMTU() int {
	if l, found := f.link(f.Options.Device); found && f.encapsulates() {
		return l.MTU
	}
	return 0
}
