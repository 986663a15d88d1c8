// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/selvage-net/selvage/controllers/ownership"
)

// fields are those of each type that make up a state, as fingerprint writes
// them, and those that it leaves out because nothing hangs on them. Whoever
// adds one decides which it is: what is left out by mistake makes two states
// one, and hides what would have come of the second.
var fields = map[reflect.Type]struct{ written, leftOut []string }{
	reflect.TypeFor[Store]():             {[]string{"pools", "peers", "ranges", "removals", "leases", "nodes", "pods"}, []string{"Lax", "counter"}},
	reflect.TypeFor[ownership.Object]():  {[]string{"Name", "UID", "Deleting", "Finalizer"}, []string{"Version"}},
	reflect.TypeFor[ownership.Pool]():    {[]string{"Object", "CIDR", "First", "Max", "Claimed", "Accepted", "Release"}, []string{"Generation"}},
	reflect.TypeFor[ownership.Peer]():    {[]string{"Object", "Generation", "NodeUID", "InstanceID", "Removal", "Phase", "Result", "Underlay", "Report"}, nil},
	reflect.TypeFor[ownership.Removal](): {[]string{"Reason", "RemovalUID", "Heir", "AssertDown", "CutOff"}, nil},
	reflect.TypeFor[ownership.Result]():  {[]string{"Evidence", "Heir", "Ranges", "Addresses"}, nil},
	reflect.TypeFor[ownership.Report]():  {[]string{"Present", "NodeUID", "Underlay", "Headroom", "FencedGeneration", "Leaving", "Contender", "Regressed"}, []string{"Pools"}},
	reflect.TypeFor[ownership.Range]():   {[]string{"Object", "Pool", "CIDR", "Owner", "PreviousOwner", "Epoch", "Reserved", "Keep", "ObservedEpoch", "Used", "Sealed"}, nil},
	reflect.TypeFor[ownership.Lease]():   {[]string{"Object", "Holder", "Duration", "CutOff", "SealedFor", "Term"}, nil},
	reflect.TypeFor[ownership.Node]():    {[]string{"Name", "UID", "Unschedulable", "OutOfService", "Addresses", "Pools", "Heartbeat", "HeartbeatDuration"}, nil},
	reflect.TypeFor[ownership.Pod]():     {[]string{"UID", "Node", "Addresses", "Daemon"}, []string{"Namespace", "Name"}},
	reflect.TypeFor[ownership.Declaration](): {
		[]string{"Object", "Heir", "AssertDown", "InstanceID", "PeerUID", "Done"}, []string{"Generation"},
	},
	reflect.TypeFor[Host](): {
		[]string{
			"On", "Cut", "Silent", "Headroom", "Mode", "uid", "run", "lease", "until", "taking", "listed", "sent", "own", "term", "leaving",
			"home", "instance", "joined", "nodeUID", "fenced", "acknowledged", "seen", "pods", "heard", "cut",
		},
		[]string{"Name", "Rate"},
	},
	// Between two steps of an exploration nothing is half read.
	reflect.TypeFor[Controller](): {[]string{"memory", "pods", "queue", "stopped"}, []string{"Name", "Config", "Rate", "reading", "view", "last", "wrote", "events"}},
	reflect.TypeFor[World](): {
		[]string{"Store", "Now", "Hosts", "Controllers", "Term", "lies"},
		[]string{"Duration", "TakesAbsent", "Events", "OnRefusal", "Violations", "Checks", "minted"},
	},
}

func TestFingerprintKnowsEveryField(t *testing.T) {
	for typ, known := range fields {
		var has []string
		for f := range typ.NumField() {
			has = append(has, typ.Field(f).Name)
		}
		want := slices.Concat(known.written, known.leftOut)
		slices.Sort(has)
		slices.Sort(want)
		if !slices.Equal(has, want) {
			t.Errorf("%s has the fields %q; known are %q", typ, has, want)
		}
	}
}

// TestFingerprint: what makes a difference is told apart, and what makes none
// is not.
func TestFingerprint(t *testing.T) {
	start := NewWorld(time.Minute)
	p := ownership.Pool{CIDR: netip.MustParsePrefix("10.0.0.0/28"), First: 30, Max: 30}
	p.Name = "default"
	start.Store.AddPool(p)
	start.AddController(ownership.Config{MaxRemovals: 1})
	start.StartAgent(start.AddHost("host1"))
	start.StartAgent(start.AddHost("host2"))
	start.Run(time.Minute)
	was, _ := start.fingerprint(nil)
	for name, c := range map[string]struct {
		change func(*World)
		same   bool
	}{
		"nothing":                       {func(*World) {}, true},
		"versions and uids not in use":  {func(w *World) { w.Store.next() }, true},
		"a second":                      {func(w *World) { w.Tick(time.Second) }, false},
		"a renewal on its way":          {func(w *World) { w.RenewSend(w.Host("host1")) }, false},
		"an address that is given out":  {func(w *World) { w.Allocate(w.Host("host1")) }, false},
		"a lease that was written anew": {func(w *World) { l, _ := w.Store.Lease("host1"); _, _ = w.Store.PutLease(l, l) }, false},
		"a removal":                     {func(w *World) { d := ownership.Declaration{}; d.Name = "host1"; _ = w.Store.Declare(d) }, false},
		"what a controller remembers":   {func(w *World) { w.Controllers[0].Crash() }, false},
		"a decision that is not written": {func(w *World) {
			d := ownership.Declaration{}
			d.Name = "host1"
			_ = w.Store.Declare(d)
			for !w.Read(w.Controllers[0]) {
			}
			w.Decide(w.Controllers[0])
		}, false},
	} {
		w := start.Clone()
		c.change(w)
		if is, _ := w.fingerprint(nil); (is == was) != c.same {
			t.Errorf("%s: the same: %t, want %t", name, is == was, c.same)
		}
	}
	// Once every wait is over, time makes no difference any more.
	old, older := start.Clone(), start.Clone()
	old.Tick(time.Hour)
	older.Tick(2 * time.Hour)
	a, _ := old.fingerprint(nil)
	b, _ := older.fingerprint(nil)
	if a != b {
		t.Error("after an hour another hour makes a difference")
	}
}
