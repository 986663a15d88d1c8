// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package membership

// Row is what an agent does about what the API and its disk say.
type Row int

// The rows.
const (
	// Unreachable: the API has not been seen yet. Existing pods keep their
	// datapath; nothing is allocated.
	Unreachable Row = iota
	// DeclaredOut: a PeerRemoval keeps this node out. Leftover pods are cut
	// off; the agent waits, and says so.
	DeclaredOut
	// Resume: same ranges, same addresses, nothing interrupted.
	Resume
	// Suspended: a removal is under way and can still be cancelled. No
	// allocation; acknowledged once no pod holds an address.
	Suspended
	// Fenced: this incarnation is removed, or as good as that. Stale pods are
	// cut off; nothing is served until the Peer is gone.
	Fenced
	// Scratch: cut off every leftover pod, mint a new instanceID, join.
	Scratch
	// Regressed: the API has forgotten this peer. Pods keep running, nothing
	// is allocated.
	Regressed
	// Contend: another instance has this name. Touch nothing but say so.
	Contend
)

var rowNames = [...]string{
	"Unreachable", "DeclaredOut", "Resume", "Suspended", "Fenced", "Scratch", "StateRegressed", "Contend",
}

// String is for logs, metrics and errors.
func (r Row) String() string { return rowNames[r] }

// Rows are all rows.
func Rows() []Row {
	return []Row{Unreachable, DeclaredOut, Resume, Suspended, Fenced, Scratch, Regressed, Contend}
}

// Phase is how far a Peer's removal has come, as far as its agent cares.
type Phase int

// The phases.
const (
	// Current: no removal.
	Current Phase = iota
	// Removing: a removal is under way and can still be cancelled.
	Removing
	// Gone: ranges are moving or have moved; no way back.
	Gone
)

// Situation is what consistent LISTs and the disk say.
type Situation struct {
	// Seen: the API answered. Otherwise nothing else of it counts.
	Seen bool
	// Peer is the Peer of this node's name; nil: a LIST has shown that there
	// is none. (An error, as for a missing CRD, is not that.)
	Peer *PeerFacts
	// Declared is the PeerRemoval of this node's name.
	Declared *DeclaredFacts
	// NodeUID is the Node's of this name; empty: there is none.
	NodeUID string
	// Taken: space that this peer owned is owned by another, or came to its
	// owner from this incarnation.
	Taken bool
	// SameMachine: the record was written on this machine.
	SameMachine bool
	// Record is what the disk says.
	Record Record
}

// PeerFacts is what counts of a Peer.
type PeerFacts struct {
	UID, InstanceID string
	Phase           Phase
	Generation      int64
}

// DeclaredFacts is what counts of a PeerRemoval.
type DeclaredFacts struct {
	// InstanceID is the one kept out; empty: any.
	InstanceID string
}

// Decide finds the row. The first that matches holds.
func Decide(s Situation) Row {
	switch {
	case !s.Seen:
		return Unreachable
	case s.Peer == nil:
		return withoutPeer(s)
	case s.Record.InstanceID == "" || s.Peer.InstanceID != s.Record.InstanceID:
		return Contend
	case s.Peer.Phase == Gone || s.Record.IsFenced(s.Peer.UID) || forgotten(s):
		return Fenced
	case !s.SameMachine:
		return Contend
	case s.Peer.Phase == Removing:
		return Suspended
	}
	return Resume
}

// forgotten: the API shows the incarnation as it was before a removal that this
// agent has acknowledged. Generations only grow, so etcd was restored, and what
// the incarnation had may have been taken over before that.
func forgotten(s Situation) bool {
	return s.Peer.UID == s.Record.PeerUID && s.Peer.Generation < s.Record.Acknowledged
}

func withoutPeer(s Situation) Row {
	r := s.Record
	switch {
	case s.Declared != nil && (s.Declared.InstanceID == "" || s.Declared.InstanceID == r.InstanceID):
		return DeclaredOut
	case !r.Joined() || r.IsFenced(r.PeerUID) || r.Acknowledged != 0:
		return Scratch
	case s.NodeUID != "" && r.NodeUID != s.NodeUID:
		return Scratch // the Node was deleted and registered anew
	case s.Taken:
		return Fenced
	}
	return Regressed
}
