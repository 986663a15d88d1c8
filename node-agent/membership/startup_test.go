// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package membership

import "testing"

// The universe of situations: every API view with every disk.
func everySituation(visit func(Situation)) {
	peers := []*PeerFacts{nil}
	for _, instance := range []string{"mine", "other"} {
		for _, uid := range []string{"joined", "new"} {
			for _, phase := range []Phase{Current, Removing, Gone} {
				for _, generation := range []int64{1, 3} {
					peers = append(peers, &PeerFacts{UID: uid, InstanceID: instance, Phase: phase, Generation: generation})
				}
			}
		}
	}
	declared := []*DeclaredFacts{nil, {}, {InstanceID: "mine"}, {InstanceID: "other"}}
	for _, seen := range []bool{false, true} {
		for _, peer := range peers {
			for _, d := range declared {
				for bits := range 32 {
					on := func(n int) bool { return bits&(1<<n) != 0 }
					for _, record := range everyRecord() {
						s := Situation{Seen: seen, Peer: peer, Declared: d, Taken: on(0), SameMachine: on(1), Record: record}
						if on(2) {
							s.NodeUID = "node"
						}
						if on(3) {
							s.NodeUID = "node-anew"
						}
						if on(4) && record.PeerUID != "" {
							s.Record.Acknowledged = 2
						}
						visit(s)
					}
				}
			}
		}
	}
}

// everyRecord: nothing, minted, joined, joined and fenced, fenced and minted anew.
func everyRecord() []Record {
	return []Record{
		{},
		{InstanceID: "mine"},
		{InstanceID: "mine", PeerUID: "joined", NodeUID: "node"},
		{InstanceID: "mine", PeerUID: "joined", NodeUID: "node", Fenced: []string{"joined"}},
		{InstanceID: "mine", Fenced: []string{"joined"}},
	}
}

// table is the table of the protocol, row by row, as it is written there.
var table = []struct {
	row   Row
	match func(Situation) bool
}{
	{Unreachable, func(s Situation) bool { return !s.Seen }},
	{DeclaredOut, func(s Situation) bool {
		return s.Peer == nil && s.Declared != nil && (s.Declared.InstanceID == "" || s.Declared.InstanceID == s.Record.InstanceID)
	}},
	{Resume, func(s Situation) bool {
		return mine(s) && s.Peer.Phase == Current && s.SameMachine && !over(s)
	}},
	{Suspended, func(s Situation) bool {
		return mine(s) && s.Peer.Phase == Removing && s.SameMachine && !over(s)
	}},
	{Fenced, func(s Situation) bool { return mine(s) && (s.Peer.Phase == Gone || over(s)) }},
	{Scratch, func(s Situation) bool {
		return s.Peer == nil && (s.Record.IsFenced(s.Record.PeerUID) || s.Record.Acknowledged != 0 || s.Record.PeerUID == "" ||
			(s.NodeUID != "" && s.NodeUID != s.Record.NodeUID))
	}},
	{Fenced, func(s Situation) bool { return s.Peer == nil && s.Taken }},
	{Regressed, func(s Situation) bool { return s.Peer == nil }},
	{Contend, func(Situation) bool { return true }},
}

func mine(s Situation) bool {
	return s.Peer != nil && s.Record.InstanceID != "" && s.Peer.InstanceID == s.Record.InstanceID
}

// over: this disk knows that the incarnation was removed, or gave it up.
func over(s Situation) bool {
	return s.Record.IsFenced(s.Peer.UID) || s.Peer.UID == s.Record.PeerUID && s.Record.Acknowledged > s.Peer.Generation
}

func TestDecideIsTheTable(t *testing.T) {
	count := map[Row]int{}
	everySituation(func(s Situation) {
		got := Decide(s)
		count[got]++
		for _, line := range table {
			if line.match(s) {
				if got != line.row {
					t.Fatalf("%+v (peer %+v): %s, want %s", s, s.Peer, got, line.row)
				}
				return
			}
		}
	})
	for _, row := range Rows() {
		if count[row] == 0 {
			t.Errorf("no situation leads to %s", row)
		}
	}
}

// What must hold whatever the table says.
func TestDecideIsSafe(t *testing.T) {
	everySituation(func(s Situation) {
		row := Decide(s)
		serving := row == Resume || row == Suspended
		switch {
		case serving && (s.Peer == nil || s.Peer.InstanceID != s.Record.InstanceID):
			t.Errorf("%s as another instance: %+v", row, s)
		case serving && !s.SameMachine:
			t.Errorf("%s on another machine: %+v", row, s)
		case serving && s.Record.IsFenced(s.Peer.UID):
			t.Errorf("%s of a fenced incarnation: %+v", row, s)
		case serving && s.Peer.UID == s.Record.PeerUID && s.Peer.Generation < s.Record.Acknowledged:
			t.Errorf("%s of what it has let go: %+v", row, s)
		case row == Resume && s.Peer.Phase != Current:
			t.Errorf("%s during a removal: %+v", row, s)
		case row == Scratch && s.Peer != nil:
			t.Errorf("%s beside a Peer: %+v", row, s)
		case row == Scratch && s.Declared != nil && s.Declared.InstanceID == "":
			t.Errorf("%s although declared out: %+v", row, s)
		case row != Unreachable && !s.Seen:
			t.Errorf("%s without having seen the API: %+v", row, s)
		}
	})
}
