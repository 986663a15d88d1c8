// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package display

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/inventory"
)

// Overview is the state of the network on one page.
type Overview struct {
	Pools []PoolLine `json:"pools"`
	// Phases counts the peers by phase, and Unhealthy lists those that are
	// current but not well.
	Peers     int            `json:"peers"`
	Phases    map[string]int `json:"phases"`
	Unhealthy []PeerLine     `json:"unhealthy,omitempty"`
	// Removals are those under way.
	Removals []RemovalLine `json:"removals"`
	// Out are the peers that a finished PeerRemoval keeps out.
	Out []string `json:"out,omitempty"`
	// Controller says who leads, or what is wrong with that.
	Controller string `json:"controller"`
	// Attention lists what a person should look at.
	Attention []string `json:"attention,omitempty"`
	// Unread lists the parts that could not be read, and why.
	Unread map[string]string `json:"unread,omitempty"`
}

// PoolLine is one pool in an overview.
type PoolLine struct {
	Name      string                 `json:"name"`
	CIDR      string                 `json:"cidr"`
	Addresses v1alpha1.AddressCounts `json:"addresses"`
	Ready     bool                   `json:"ready"`
	Message   string                 `json:"message,omitempty"`
}

// PeerLine is one peer that is not well.
type PeerLine struct {
	Name    string `json:"name"`
	Phase   string `json:"phase"`
	Message string `json:"message"`
}

// RemovalLine is one removal under way: where it stands and what moves it on.
type RemovalLine struct {
	inventory.Removal
	State string `json:"state"`
	Next  string `json:"next"`
}

// Summarise makes the overview of a state.
func Summarise(s *inventory.State, now time.Time) Overview {
	o := Overview{Pools: []PoolLine{}, Removals: []RemovalLine{}, Phases: map[string]int{}, Peers: len(s.Peers), Unread: map[string]string{}}
	for part, err := range s.Unread {
		o.Unread[string(part)] = err.Error()
	}
	for i := range s.Pools {
		o.addPool(&s.Pools[i])
	}
	for i := range s.Peers {
		o.addPeer(s, &s.Peers[i])
	}
	for _, r := range s.UnderWay() {
		o.Removals = append(o.Removals, RemovalLine{Removal: r, State: Progress(&r), Next: Hint(&r)})
	}
	for _, r := range s.Ended() {
		if r.Declared {
			o.Out = append(o.Out, r.Peer)
		}
	}
	slices.Sort(o.Out)
	o.controller(s, now)
	return o
}

func (o *Overview) addPool(pool *v1alpha1.AddressPool) {
	line := PoolLine{Name: pool.Name, CIDR: pool.Spec.CIDR, Ready: meta.IsStatusConditionTrue(pool.Status.Conditions, v1alpha1.ConditionReady)}
	if pool.Status.Addresses != nil {
		line.Addresses = *pool.Status.Addresses
	}
	line.Message = inventory.Message(pool.Status.Conditions, v1alpha1.ConditionReady)
	o.Pools = append(o.Pools, line)
	if c := meta.FindStatusCondition(pool.Status.Conditions, v1alpha1.ConditionRemovalsHeld); c != nil && c.Status == metav1.ConditionTrue {
		o.Attention = append(o.Attention, fmt.Sprintf("pool %s: removals are held back: %s; to let them go on: kubectl annotate addresspool %s %s=yes",
			pool.Name, c.Message, pool.Name, v1alpha1.ReleaseAnnotation))
	}
	if c := meta.FindStatusCondition(pool.Status.Conditions, v1alpha1.ConditionExhausted); c != nil && c.Status == metav1.ConditionTrue {
		o.Attention = append(o.Attention, fmt.Sprintf("pool %s: exhausted: %s", pool.Name, c.Message))
	}
}

func (o *Overview) addPeer(s *inventory.State, p *v1alpha1.Peer) {
	phase := inventory.Phase(p)
	o.Phases[string(phase)]++
	if phase != v1alpha1.PhaseActive {
		return
	}
	message := messageOf(p)
	if p.Status.Agent != nil && p.Status.Agent.Suspended != "" {
		message = p.Status.Agent.Suspended
	}
	unwell := meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionReady)
	switch {
	case Unreachable(s, p):
		if message == "" {
			message = "unreachable: its lease is sealed or absent"
		}
	case unwell == nil || unwell.Status == metav1.ConditionTrue:
		return
	}
	o.Unhealthy = append(o.Unhealthy, PeerLine{Name: p.Name, Phase: string(phase), Message: message})
}

// controller reads the leader lease. Two clocks are compared, but only to be
// shown: nothing is decided on it.
func (o *Overview) controller(s *inventory.State, now time.Time) {
	switch l := s.Leader; {
	case !s.Has(inventory.Leases):
		o.Controller = "unknown: the leases could not be read"
	case l == nil:
		o.Controller = fmt.Sprintf("no leader lease in namespace %s (is Selvage installed in another one? -n)", s.Namespace)
	case inventory.Holder(l) == "" || l.Spec.RenewTime == nil:
		o.Controller = "nobody leads: nothing is granted or removed until a controller runs"
		o.Attention = append(o.Attention, o.Controller)
	default:
		age := now.Sub(l.Spec.RenewTime.Time).Round(time.Second)
		o.Controller = fmt.Sprintf("%s leads", inventory.Holder(l))
		if age > time.Minute {
			o.Controller = fmt.Sprintf("%s led, but has been silent for %s", inventory.Holder(l), age)
			o.Attention = append(o.Attention, fmt.Sprintf("no controller is at work: nothing is granted or removed until one runs (kubectl -n %s get pods)", s.Namespace))
		}
	}
}

// Overview shows the network on one page.
func (p *Page) Overview(o Overview) error {
	steps := []func(Overview) error{p.poolLines, p.peerLines, p.removalLines, p.lastLines}
	for _, step := range steps {
		if err := step(o); err != nil {
			return err
		}
	}
	return nil
}

func (p *Page) poolLines(o Overview) error {
	if _, unread := o.Unread[string(inventory.Pools)]; unread {
		return nil
	}
	if len(o.Pools) == 0 {
		return p.Line(Warn, "no address pools: create one, such as kubectl apply -f config/samples")
	}
	t := Table{Header: []string{"POOL", "CIDR", "TOTAL", "ASSIGNED", "USED", "RESERVED", "FREE", "READY"}}
	for _, l := range o.Pools {
		ready := Cell{"yes", Good}
		if !l.Ready {
			ready = Cell{strings.TrimSuffix("no: "+l.Message, ": "), Bad}
		}
		a := l.Addresses
		t.Rows = append(t.Rows, append(plain(l.Name, l.CIDR, a.Total, a.Assigned, a.Used, a.Reserved, a.Free), ready))
	}
	return p.Table(t)
}

func (p *Page) peerLines(o Overview) error {
	counts := []string{}
	for _, phase := range []v1alpha1.PeerPhase{v1alpha1.PhaseActive, v1alpha1.PhaseFencing, v1alpha1.PhaseTransferring, v1alpha1.PhaseRemoved} {
		if n := o.Phases[string(phase)]; n > 0 {
			counts = append(counts, fmt.Sprintf("%d %s", n, phase))
		}
	}
	above := "\n"
	if _, unread := o.Unread[string(inventory.Pools)]; unread {
		above = ""
	}
	if _, err := io.WriteString(p, above); err != nil {
		return err
	}
	if err := p.Line(Strong, "%s", strings.TrimSuffix(fmt.Sprintf("%s: %s", plural(o.Peers, "peer"), strings.Join(counts, ", ")), ": ")); err != nil {
		return err
	}
	t := Table{}
	for _, l := range o.Unhealthy {
		t.Rows = append(t.Rows, []Cell{{"  " + l.Name, Plain}, {l.Phase, Warn}, {l.Message, Plain}})
	}
	return p.Table(t)
}

func (p *Page) removalLines(o Overview) error {
	for _, r := range o.Removals {
		style := Warn
		if r.Stalled {
			style = Bad
		}
		heir := "its ranges go back to their pools"
		if r.Heir != "" {
			heir = "heir " + r.Heir
		}
		if err := p.Line(Strong, "\nremoval of %s (%s, %s, since %s)", r.Peer, r.Reason, heir, p.Age(r.Since)); err != nil {
			return err
		}
		if err := p.Line(style, "  %s", r.State); err != nil {
			return err
		}
		if err := p.Line(Faint, "  %s", r.Next); err != nil {
			return err
		}
	}
	return nil
}

func (p *Page) lastLines(o Overview) error {
	lines := []string{"", "controller: " + o.Controller}
	if len(o.Out) > 0 {
		lines = append(lines, fmt.Sprintf("kept out: %s (delete the PeerRemoval to let a node join anew)", Names(o.Out)))
	}
	for _, l := range lines {
		if err := p.Line(Plain, "%s", l); err != nil {
			return err
		}
	}
	for _, a := range o.Attention {
		if err := p.Line(Bad, "! %s", a); err != nil {
			return err
		}
	}
	unread := make([]string, 0, len(o.Unread))
	for part, why := range o.Unread {
		unread = append(unread, fmt.Sprintf("! not shown: %s: %s", part, why))
	}
	slices.Sort(unread)
	for _, u := range unread {
		if err := p.Line(Warn, "%s", u); err != nil {
			return err
		}
	}
	return nil
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
