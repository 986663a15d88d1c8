// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Peer is a node's membership of the network. Its uid is the incarnation:
// ranges name their owner by name and uid, and a Peer made anew under the same
// name owns nothing of its namesake's. Created by that node's agent, otherwise
// written by the controller. To take a node out, apply a PeerRemoval.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,categories=selvage
// +kubebuilder:selectablefield:JSONPath=`.spec.nodeName`
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Ranges",type=integer,JSONPath=`.status.ranges`
// +kubebuilder:printcolumn:name="Addresses",type=integer,JSONPath=`.status.addresses`
// +kubebuilder:printcolumn:name="Used",type=integer,JSONPath=`.status.used`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="Underlay",type=string,JSONPath=`.status.underlay`,priority=1
// +kubebuilder:printcolumn:name="Version",type=string,JSONPath=`.status.agent.version`,priority=1
// +kubebuilder:validation:XValidation:rule="self.spec.nodeName == self.metadata.name",message="a Peer is named after its node",fieldPath=".spec.nodeName"
// +kubebuilder:validation:XValidation:rule="!(has(oldSelf.status) && has(oldSelf.status.phase) && oldSelf.status.phase in ['Transferring', 'Removed']) || has(self.spec.removal) == has(oldSelf.spec.removal)",message="ownership is moving or has moved: this removal can be neither cancelled nor added; see status.removal for the heir",fieldPath=".spec.removal"
// +kubebuilder:validation:XValidation:rule="!(has(self.spec.removal) && has(self.spec.removal.heir)) || self.spec.removal.heir != self.metadata.name",message="a peer cannot be its own heir",fieldPath=".spec.removal.heir"
// +kubebuilder:validation:XValidation:rule="!(has(self.status) && has(self.status.phase) && self.status.phase == 'Transferring') || has(self.spec.removal)",message="Transferring needs spec.removal",fieldPath=".status.phase"
// +kubebuilder:validation:XValidation:rule="!(has(self.status) && has(self.status.phase) && self.status.phase == 'Transferring') || (has(oldSelf.status) && has(oldSelf.status.phase) && oldSelf.status.phase in ['Fencing', 'Transferring'])",message="phase: Transferring follows Fencing",fieldPath=".status.phase"
// +kubebuilder:validation:XValidation:rule="!(has(oldSelf.status) && has(oldSelf.status.phase) && oldSelf.status.phase == 'Transferring') || (has(self.status) && has(self.status.phase) && self.status.phase in ['Transferring', 'Removed'])",message="phase: Transferring leads only to Removed",fieldPath=".status.phase"
// +kubebuilder:validation:XValidation:rule="!(has(oldSelf.status) && has(oldSelf.status.phase) && oldSelf.status.phase == 'Removed') || (has(self.status) && has(self.status.phase) && self.status.phase == 'Removed')",message="phase: Removed is final",fieldPath=".status.phase"
// +kubebuilder:validation:XValidation:rule="!(has(self.status) && has(self.status.phase) && self.status.phase == 'Removed') || (has(oldSelf.status) && has(oldSelf.status.phase) && oldSelf.status.phase in ['Transferring', 'Removed'])",message="phase: Removed follows Transferring",fieldPath=".status.phase"
// +kubebuilder:validation:XValidation:rule="!(has(self.status) && has(self.status.phase) && self.status.phase in ['Transferring', 'Removed']) || (has(self.status.removal) && has(self.status.removal.evidence))",message="no transfer without evidence",fieldPath=".status.removal.evidence"
// +kubebuilder:validation:XValidation:rule="!(has(oldSelf.status) && has(oldSelf.status.phase) && oldSelf.status.phase in ['Transferring', 'Removed']) || (has(self.status) && has(self.status.removal) && self.status.removal.evidence == oldSelf.status.removal.evidence && has(self.status.removal.heir) == has(oldSelf.status.removal.heir) && (!has(self.status.removal.heir) || (self.status.removal.heir.name == oldSelf.status.removal.heir.name && self.status.removal.heir.uid == oldSelf.status.removal.heir.uid)))",message="evidence and heir are fixed from Transferring on",fieldPath=".status.removal"
// +kubebuilder:validation:XValidation:rule="!(has(self.status) && has(self.status.underlay) && has(self.status.phase) && self.status.phase in ['Fencing', 'Transferring', 'Removed'] && has(oldSelf.status) && has(oldSelf.status.phase) && oldSelf.status.phase in ['Fencing', 'Transferring', 'Removed']) || (has(oldSelf.status.underlay) && self.status.underlay.all(a, a in oldSelf.status.underlay))",message="underlay: no address is accepted from Fencing on",fieldPath=".status.underlay"
type Peer struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// Who the peer is, and the removal that the controller has accepted.
	// +required
	Spec PeerSpec `json:"spec"`

	// status.agent is the agent's report; the rest is the controller's.
	// +optional
	// +default={"observedGeneration": -1}
	Status PeerStatus `json:"status,omitzero"`
}

// PeerSpec says who the peer is.
type PeerSpec struct {
	// The Node this peer runs on; also the Peer's name, and with the prefix
	// peer- its Lease's. Immutable.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=248
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="nodeName is immutable"
	NodeName string `json:"nodeName"`

	// The uid of that Node. A Node registered anew has another.
	// +kubebuilder:validation:Type=string
	// +optional
	// +kubebuilder:validation:MaxLength=64
	NodeUID types.UID `json:"nodeUID,omitempty"`

	// Minted by the agent, and on its disk before it is here: an agent whose
	// disk names another instance contends instead of resuming. Immutable.
	// +required
	// +kubebuilder:validation:MinLength=8
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="instanceID is immutable: another instance joins only once this Peer is gone"
	InstanceID string `json:"instanceID"`

	// The controller's record of the accepted PeerRemoval, or of its own
	// decision. Taking it away in phase Fencing cancels.
	// +optional
	Removal *PeerRemovalRecord `json:"removal,omitempty"`
}

// RemovalReason says who decided that a peer goes.
//
// +kubebuilder:validation:Enum=Declared;NodeGone;Superseded;Leaving
type RemovalReason string

// Who decided that a peer goes.
const (
	// ReasonDeclared: a PeerRemoval.
	ReasonDeclared RemovalReason = "Declared"
	// ReasonNodeGone: the Node is gone, or registered anew, and the lease has run out.
	ReasonNodeGone RemovalReason = "NodeGone"
	// ReasonSuperseded: another instance runs on the node and contends.
	ReasonSuperseded RemovalReason = "Superseded"
	// ReasonLeaving: the agent was told to leave (selvage-agent reset).
	ReasonLeaving RemovalReason = "Leaving"
)

// PeerRemovalRecord is bound to this Peer object, once.
//
// +kubebuilder:validation:XValidation:rule="has(self.heir) == has(oldSelf.heir) && (!has(self.heir) || self.heir == oldSelf.heir)",messageExpression="'removal declared already, ' + (has(oldSelf.heir) ? 'heir ' + oldSelf.heir : 'without an heir') + ': it is immutable; cancel it first'",message="the heir is immutable: cancel the removal first",fieldPath=".heir"
// +kubebuilder:validation:XValidation:rule="self.reason == oldSelf.reason && (has(self.removalUID) ? has(oldSelf.removalUID) && self.removalUID == oldSelf.removalUID : !has(oldSelf.removalUID))",message="the declaration is immutable: cancel it first",fieldPath=".reason"
// +kubebuilder:validation:XValidation:rule="!(has(oldSelf.assertDown) && oldSelf.assertDown) || (has(self.assertDown) && self.assertDown)",message="assertDown can be added, not taken back: cancel the removal first",fieldPath=".assertDown"
type PeerRemovalRecord struct {
	// Who decided.
	// +required
	Reason RemovalReason `json:"reason"`
	// The uid of the PeerRemoval, for reason Declared.
	// +kubebuilder:validation:Type=string
	// +optional
	// +kubebuilder:validation:MaxLength=64
	RemovalUID types.UID `json:"removalUID,omitempty"`
	// The peer that is to take over, by name. Without it the ranges go back
	// to their pools.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Heir string `json:"heir,omitempty"`
	// Somebody vouches that the machine is off.
	// +optional
	AssertDown bool `json:"assertDown,omitempty"`
	// The node is cordoned and only DaemonSet and static pods are left: the
	// agent cuts those off and acknowledges.
	// +optional
	CutOff bool `json:"cutOff,omitempty"`
}

// PeerPhase is where a peer stands between joining and being removed.
//
// +kubebuilder:validation:Enum=Active;Fencing;Transferring;Removed
type PeerPhase string

// The phases of a Peer; absent is Active. One way from Transferring on.
const (
	PhaseActive       PeerPhase = "Active"
	PhaseFencing      PeerPhase = "Fencing"
	PhaseTransferring PeerPhase = "Transferring"
	PhaseRemoved      PeerPhase = "Removed"
)

// Evidence says why it is safe to believe that a peer allocates no more.
//
// +kubebuilder:validation:Enum=AgentAcknowledged;LeaseExpired;NodeOutOfService;Asserted;NeverJoined
type Evidence string

// The kinds of evidence.
const (
	// EvidenceAgentAcknowledged: the agent says so, naming the generation.
	EvidenceAgentAcknowledged Evidence = "AgentAcknowledged"
	// EvidenceLeaseExpired: its lease was watched to run out, then sealed.
	EvidenceLeaseExpired Evidence = "LeaseExpired"
	// EvidenceNodeOutOfService: the Node carries the out-of-service taint, and
	// its lease was watched to run out, then sealed.
	EvidenceNodeOutOfService Evidence = "NodeOutOfService"
	// EvidenceAsserted: a person vouches (assertDown).
	EvidenceAsserted Evidence = "Asserted"
	// EvidenceNeverJoined: there is no such Peer.
	EvidenceNeverJoined Evidence = "NeverJoined"
)

// PeerStatus is the agent's report and the controller's verdict.
type PeerStatus struct {
	// The generation the controller's part speaks of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Active, Fencing, Transferring or Removed; absent is Active.
	// +optional
	Phase PeerPhase `json:"phase,omitempty"`

	// The agent's report: the only part of the status that it writes.
	// +optional
	Agent *AgentReport `json:"agent,omitempty"`

	// What became of the removal: fixed from Transferring on.
	// +optional
	Removal *PeerRemovalResult `json:"removal,omitempty"`

	// The underlay addresses that the controller has accepted: the source of
	// every agent's allowlist. Accepted only if the Node has them and no
	// other current Peer does.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=4
	// +kubebuilder:validation:items:MaxLength=39
	// +kubebuilder:validation:items:XValidation:rule="isIP(self)",message="not an IP address"
	Underlay []string `json:"underlay,omitempty"`

	// How many ranges it owns.
	// +optional
	Ranges int32 `json:"ranges,omitempty"`
	// How many addresses they hold.
	// +optional
	Addresses int64 `json:"addresses,omitempty"`
	// How many of those are in use, as the agent reports.
	// +optional
	Used int64 `json:"used,omitempty"`

	// Ready (alive and serving), Fenced, Reconciling and Stalled.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// ReasonStateRegressed begins AgentReport.Suspended where the agent remembers
// more than the API server shows it.
const ReasonStateRegressed = "StateRegressed"

// AgentReport is what a node's agent says of itself.
type AgentReport struct {
	// The agent's version.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Version string `json:"version,omitempty"`
	// The machine's host name.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	HostName string `json:"hostName,omitempty"`
	// The uid of the Node the agent sees today.
	// +kubebuilder:validation:Type=string
	// +optional
	// +kubebuilder:validation:MaxLength=64
	NodeUID types.UID `json:"nodeUID,omitempty"`
	// The addresses that its tunnel traffic comes from and goes to, at most
	// two of each family.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=4
	// +kubebuilder:validation:items:MaxLength=39
	// +kubebuilder:validation:items:XValidation:rule="isIP(self)",message="not an IP address"
	Underlay []string `json:"underlay,omitempty"`
	// The hardware address of its tunnel device, or, for direct routes, of
	// its underlay device, as in 02:42:ac:11:00:02.
	// +optional
	// +kubebuilder:validation:MaxLength=17
	// +kubebuilder:validation:Pattern=`^([0-9a-f]{2}:){5}[0-9a-f]{2}$`
	VTEP string `json:"vtep,omitempty"`
	// The number of addresses it wants free in each pool: below this it is
	// granted another range.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Headroom *int64 `json:"headroom,omitempty"`
	// Capacity and use, pool by pool.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	Pools []PoolUse `json:"pools,omitempty"`
	// Set when the agent allocates no more for the removal of this
	// generation, and no pod holds an address (or those left are cut off).
	// +optional
	Fenced *AgentFence `json:"fenced,omitempty"`
	// The agent was told to leave the network for good.
	// +optional
	Leaving bool `json:"leaving,omitempty"`
	// Another instance runs on this node and waits for this one to be
	// removed: its instanceID.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Contender string `json:"contender,omitempty"`
	// Why the agent allocates nothing, if it does not: a reason such as
	// StateRegressed or Cloned and a sentence.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Suspended string `json:"suspended,omitempty"`
}

// PoolUse is one pool as one peer sees it.
type PoolUse struct {
	// The pool's name.
	// +required
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// Addresses that the peer can give to pods, used ones included.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Capacity int64 `json:"capacity,omitempty"`
	// Those in use.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Used int64 `json:"used,omitempty"`
}

// AgentFence is an agent's acknowledgement of a removal.
type AgentFence struct {
	// metadata.generation of the Peer whose removal is acknowledged. One of
	// an older generation counts for nothing.
	// +required
	Generation int64 `json:"generation"`
}

// PeerRemovalResult is what became of a removal.
type PeerRemovalResult struct {
	// Why the peer is believed to allocate no more.
	// +optional
	Evidence Evidence `json:"evidence,omitempty"`
	// The heir, by name and uid. Absent: the ranges go back to their pools.
	// +optional
	Heir *PeerReference `json:"heir,omitempty"`
	// When evidence was at hand.
	// +optional
	FencedTime *metav1.Time `json:"fencedTime,omitempty"`
	// How many ranges moved.
	// +optional
	Ranges int32 `json:"ranges,omitempty"`
	// How many addresses moved.
	// +optional
	Addresses int64 `json:"addresses,omitempty"`
	// When the peer owned nothing any more.
	// +optional
	CompletionTime *metav1.Time `json:"completionTime,omitempty"`
}

// PeerList is a list of Peer.
//
// +kubebuilder:object:root=true
type PeerList struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ListMeta `json:"metadata,omitzero"`
	Items           []Peer `json:"items"`
}
