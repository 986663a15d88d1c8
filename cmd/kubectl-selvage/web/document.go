// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

// Package web is the network as a page in a browser: a pure core makes a
// document of what was read, and a thin shell serves it, on loopback and to
// whom knows the address only, and sends what has changed of it.
package web

import (
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/atlas"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/display"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/inventory"
)

// Document is all that the page shows. Times are milliseconds since 1970: the
// page counts ages itself.
type Document struct {
	Head
	Peers []Peer `json:"peers"`
}

// Head is a document without the peers, of which there may be thousands.
type Head struct {
	// Cluster is how the person calls what is shown.
	Cluster    string         `json:"cluster"`
	Controller string         `json:"controller"`
	Attention  []string       `json:"attention"`
	Unread     []string       `json:"unread"`
	Phases     map[string]int `json:"phases"`
	Pools      []Pool         `json:"pools"`
	// Removals are under way, Ended are those that are over.
	Removals []Removal `json:"removals"`
	Ended    []Ended   `json:"ended"`
}

// Peer is one row of the table.
type Peer struct {
	Name string `json:"name"`
	// Key is its letter, if it has one, and Hue the colour that goes with it.
	Key string `json:"key"`
	Hue int    `json:"hue"`
	// State is in words, and Health how worrying it is: good, warn, bad, gone.
	State     string `json:"state"`
	Health    string `json:"health"`
	Message   string `json:"message"`
	Ranges    int    `json:"ranges"`
	Addresses int64  `json:"addresses"`
	Used      int64  `json:"used"`
	// Lease is held, sealed, absent or unread; Renewed and Lasts say since when
	// and how long.
	Lease   string `json:"lease"`
	Renewed int64  `json:"renewed"`
	Lasts   int64  `json:"lasts"`

	Version  string   `json:"version"`
	Host     string   `json:"host"`
	Underlay []string `json:"underlay"`
	Instance string   `json:"instance"`
	Since    int64    `json:"since"`
	// CIDRs are its first ranges by address.
	CIDRs []string `json:"cidrs"`
}

// Removal is one that is under way.
type Removal struct {
	Peer    string `json:"peer"`
	Heir    string `json:"heir"`
	Reason  string `json:"reason"`
	Phase   string `json:"phase"`
	Stalled bool   `json:"stalled"`
	Since   int64  `json:"since"`
	// Evidence why it allocates no more; empty: none yet.
	Evidence string `json:"evidence"`
	// State and Next are in the words of kubectl selvage status.
	State string `json:"state"`
	Next  string `json:"next"`
	// CutOff of Others have reported that they have cut it off; -1: unknown.
	CutOff int `json:"cutOff"`
	Others int `json:"others"`
}

// Ended is a removal that is over.
type Ended struct {
	Peer      string `json:"peer"`
	Outcome   string `json:"outcome"`
	Evidence  string `json:"evidence"`
	Completed int64  `json:"completed"`
	// KeptOut says that a PeerRemoval stands, and the node may not join.
	KeptOut bool `json:"keptOut"`
}

// mostCIDRs is how many ranges of a peer are listed.
const mostCIDRs = 32

// Compose makes the document of a state. Letters given before are kept.
func Compose(cluster string, s *inventory.State, keys *Keys, now time.Time) *Document {
	drawn := atlas.Draw(s)
	keys.give(drawn)
	overview := display.Summarise(s, now)
	d := &Document{Peers: []Peer{}, Head: Head{
		Cluster: cluster, Controller: overview.Controller, Phases: overview.Phases,
		Attention: emptied(overview.Attention), Unread: []string{},
		Pools: []Pool{}, Removals: []Removal{}, Ended: []Ended{},
	}}
	for part, why := range overview.Unread {
		d.Unread = append(d.Unread, part+": "+why)
	}
	slices.Sort(d.Unread)
	for i := range drawn {
		d.Pools = append(d.Pools, pool(&drawn[i], keys))
	}
	d.peers(s, &overview, keys)
	for i := range overview.Removals {
		d.Removals = append(d.Removals, underWay(&overview.Removals[i]))
	}
	d.ended(s)
	return d
}

func (d *Document) peers(s *inventory.State, overview *display.Overview, keys *Keys) {
	held, owned := display.Holdings(s), cidrs(s)
	unwell := map[string]string{}
	for _, p := range overview.Unhealthy {
		unwell[p.Name] = p.Message
	}
	for i := range s.Peers {
		p := &s.Peers[i]
		row := peer(s, p, keys)
		h := held[p.UID]
		row.Ranges, row.Addresses, row.Used, row.CIDRs = h.Ranges, h.Addresses, h.Used, emptied(owned[p.UID])
		if why, is := unwell[p.Name]; is {
			row.Message = why
		}
		d.Peers = append(d.Peers, row)
	}
	slices.SortFunc(d.Peers, func(a, b Peer) int { return strings.Compare(a.Name, b.Name) })
}

func peer(s *inventory.State, p *v1alpha1.Peer, keys *Keys) Peer {
	row := Peer{
		Name: p.Name, State: string(inventory.Phase(p)), Message: inventory.Message(p.Status.Conditions, v1alpha1.ConditionReady),
		Host: inventory.HostName(p), Underlay: emptied(inventory.Underlay(p)), Instance: p.Spec.InstanceID,
		Since: p.CreationTimestamp.UnixMilli(),
	}
	row.Key, row.Hue = keys.of(p.UID)
	if p.Status.Agent != nil {
		row.Version = p.Status.Agent.Version
	}
	switch display.PhaseCell(s, p).Style {
	case display.Good:
		row.Health = "good"
	case display.Bad:
		row.Health, row.State = "bad", row.State+", unreachable"
	case display.Faint:
		row.Health = "gone"
	default:
		row.Health = "warn"
	}
	row.lease(s)
	return row
}

func (p *Peer) lease(s *inventory.State) {
	l, found := s.Leases[p.Name]
	switch {
	case !s.Has(inventory.Leases):
		p.Lease = "unread"
		return
	case !found:
		p.Lease = "absent"
		return
	case inventory.Holder(&l) == v1alpha1.SealedHolder:
		p.Lease = "sealed"
	default:
		p.Lease = "held"
	}
	if l.Spec.RenewTime != nil {
		p.Renewed = l.Spec.RenewTime.UnixMilli()
	}
	if l.Spec.LeaseDurationSeconds != nil {
		p.Lasts = int64(*l.Spec.LeaseDurationSeconds) * 1000
	}
}

// cidrs are each incarnation's first ranges: they were read sorted by address.
func cidrs(s *inventory.State) map[types.UID][]string {
	all := make(map[types.UID][]string, len(s.Peers))
	for i := range s.Ranges {
		if r := &s.Ranges[i]; r.Spec.Owner != nil && len(all[r.Spec.Owner.UID]) < mostCIDRs {
			all[r.Spec.Owner.UID] = append(all[r.Spec.Owner.UID], r.Spec.CIDR)
		}
	}
	return all
}

func underWay(line *display.RemovalLine) Removal {
	r := Removal{
		Peer: line.Peer, Heir: line.Heir, Reason: string(line.Reason), Phase: string(line.Phase), Stalled: line.Stalled,
		Evidence: string(line.Evidence), State: line.State, Next: line.Next, CutOff: -1,
	}
	if !line.Since.IsZero() {
		r.Since = line.Since.UnixMilli()
	}
	if line.Fence.Known {
		r.CutOff, r.Others = len(line.Fence.CutOffBy), len(line.Fence.CutOffBy)+len(line.Fence.Missing)
	}
	return r
}

// ended lists the removals that are over: those whose PeerRemoval stands, and
// those of which only the Peer is left.
func (d *Document) ended(s *inventory.State) {
	for _, r := range s.Ended() {
		e := Ended{Peer: r.Peer, Outcome: display.Outcome(&r), Evidence: string(r.Evidence), KeptOut: r.Declared}
		if r.Completed != nil {
			e.Completed = r.Completed.UnixMilli()
		}
		d.Ended = append(d.Ended, e)
	}
}

// emptied is the list, and never null in a document.
func emptied(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
