// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// PeerRemoval says: this node is out of the network. It is named after the
// peer, so there is one removal per peer, by construction. Deleting it before
// its phase is Transferring cancels; deleting it later lets the node join
// anew. Written by people and pipelines.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=rmpeer,categories=selvage
// +kubebuilder:printcolumn:name="Heir",type=string,JSONPath=`.spec.heir`
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Evidence",type=string,JSONPath=`.status.evidence`
// +kubebuilder:printcolumn:name="Addresses",type=integer,JSONPath=`.status.addresses`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:validation:XValidation:rule="!has(self.spec) || !has(self.spec.heir) || self.spec.heir != self.metadata.name",message="a peer cannot be its own heir: name another peer, or leave heir out and the ranges go back to their pool",fieldPath=".spec.heir"
// +kubebuilder:validation:XValidation:rule="(has(self.spec) && has(self.spec.heir)) == (has(oldSelf.spec) && has(oldSelf.spec.heir)) && (!has(self.spec) || !has(self.spec.heir) || self.spec.heir == oldSelf.spec.heir)",messageExpression="'this removal was declared ' + (has(oldSelf.spec) && has(oldSelf.spec.heir) ? 'with heir ' + oldSelf.spec.heir : 'without an heir') + ': delete it (cancel) before declaring another'",message="heir is immutable: delete the removal (cancel) before declaring another",reason="FieldValueForbidden",fieldPath=".spec.heir"
// +kubebuilder:validation:XValidation:rule="!(has(oldSelf.spec) && has(oldSelf.spec.assertDown) && oldSelf.spec.assertDown) || (has(self.spec) && has(self.spec.assertDown) && self.spec.assertDown)",message="assertDown can be added, not taken back: delete the removal (cancel) instead",reason="FieldValueForbidden",fieldPath=".spec.assertDown"
// +kubebuilder:validation:XValidation:rule="(has(self.spec) && has(self.spec.instanceID)) == (has(oldSelf.spec) && has(oldSelf.spec.instanceID)) && (!has(self.spec) || !has(self.spec.instanceID) || self.spec.instanceID == oldSelf.spec.instanceID)",message="instanceID is immutable: delete the removal before binding it to another instance",reason="FieldValueForbidden",fieldPath=".spec.instanceID"
type PeerRemoval struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// Who inherits, and what the author vouches for.
	// +optional
	// +default={}
	Spec PeerRemovalSpec `json:"spec,omitzero"`

	// How far the removal has come. Ready=True means: removed.
	// +optional
	// +default={"observedGeneration": -1}
	Status PeerRemovalStatus `json:"status,omitzero"`
}

// PeerRemovalSpec says who inherits, and what the author vouches for.
type PeerRemovalSpec struct {
	// The peer that takes over the ranges. Without it they go back to their
	// pools. Immutable.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Heir string `json:"heir,omitempty"`

	// "I vouch that this machine is off." Skips the wait for its lease to
	// run out, never the datapath fence. May be added, not taken back.
	// +optional
	AssertDown bool `json:"assertDown,omitempty"`

	// Binds the removal to one instance of the peer, and keeps that one
	// alone out. Without it any instance of that name is out. Immutable.
	// +optional
	// +kubebuilder:validation:MinLength=8
	// +kubebuilder:validation:MaxLength=64
	InstanceID string `json:"instanceID,omitempty"`
}

// RemovalPhase is how far a PeerRemoval has come.
//
// +kubebuilder:validation:Enum=Pending;Fencing;Transferring;Removed
type RemovalPhase string

// The phases of a PeerRemoval.
const (
	// RemovalPending: not yet accepted.
	RemovalPending RemovalPhase = "Pending"
	// RemovalFencing: the peer may allocate no more; evidence is gathered.
	// Deleting the PeerRemoval still cancels.
	RemovalFencing RemovalPhase = "Fencing"
	// RemovalTransferring: evidence and heir are fixed; ranges move once
	// every other peer has cut the removed one off.
	RemovalTransferring RemovalPhase = "Transferring"
	// RemovalRemoved: the peer owns nothing any more.
	RemovalRemoved RemovalPhase = "Removed"
)

// PeerRemovalStatus mirrors what became of the peer.
type PeerRemovalStatus struct {
	// The generation this status speaks of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Pending, Fencing, Transferring or Removed.
	// +optional
	Phase RemovalPhase `json:"phase,omitempty"`

	// The Peer this removal is bound to, once accepted.
	// +kubebuilder:validation:Type=string
	// +optional
	// +kubebuilder:validation:MaxLength=64
	PeerUID types.UID `json:"peerUID,omitempty"`

	// Why it is safe to believe that the peer allocates no more.
	// +optional
	Evidence Evidence `json:"evidence,omitempty"`

	// The peer that took the ranges over.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Heir string `json:"heir,omitempty"`

	// How many ranges were taken over.
	// +optional
	Ranges int32 `json:"ranges,omitempty"`

	// How many addresses were taken over.
	// +optional
	Addresses int64 `json:"addresses,omitempty"`

	// When evidence was at hand.
	// +optional
	FencedTime *metav1.Time `json:"fencedTime,omitempty"`

	// When the peer owned nothing any more.
	// +optional
	CompletionTime *metav1.Time `json:"completionTime,omitempty"`

	// Ready (removed), Reconciling and Stalled, as kstatus reads them.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// PeerRemovalList is a list of PeerRemoval.
//
// +kubebuilder:object:root=true
type PeerRemovalList struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ListMeta `json:"metadata,omitzero"`
	Items           []PeerRemoval `json:"items"`
}
