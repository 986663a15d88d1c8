// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// AddressRange is a CIDR of a pool and the peer that owns it: the one record
// of ownership. It is named by its first address (10.40.0.0, or IPv6 in full,
// with dashes). Written by the controller alone. It has no ownerReferences:
// the garbage collector would delete it without a fence.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=arange,categories=selvage
// +kubebuilder:selectablefield:JSONPath=`.spec.pool`
// +kubebuilder:selectablefield:JSONPath=`.spec.owner.name`
// +kubebuilder:printcolumn:name="CIDR",type=string,JSONPath=`.spec.cidr`
// +kubebuilder:printcolumn:name="Pool",type=string,JSONPath=`.spec.pool`
// +kubebuilder:printcolumn:name="Owner",type=string,JSONPath=`.spec.owner.name`
// +kubebuilder:printcolumn:name="Epoch",type=integer,JSONPath=`.spec.epoch`
// +kubebuilder:printcolumn:name="Used",type=integer,JSONPath=`.status.used`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="!isCIDR(self.spec.cidr) || (cidr(self.spec.cidr).ip().family() == 4 ? self.metadata.name == string(cidr(self.spec.cidr).ip()) : self.metadata.name.matches('^[0-9a-f]{4}(-[0-9a-f]{4}){7}$') && isIP(self.metadata.name.replace('-', ':')) && ip(self.metadata.name.replace('-', ':')) == cidr(self.spec.cidr).ip())",message="a range is named by its first address: 10.40.0.0, or IPv6 in full with dashes: fd00-0010-0000-0000-0000-0000-0000-0000",fieldPath=".spec.cidr"
// +kubebuilder:validation:XValidation:rule="!isCIDR(self.spec.cidr) || self.spec.cidr == oldSelf.spec.cidr || !has(oldSelf.spec.owner) || (has(self.status) && has(self.status.sealed) && self.status.sealed.epoch == oldSelf.spec.epoch && (!has(self.status.sealed.keep) || self.status.sealed.keep.size() == 0 || (isCIDR(self.status.sealed.keep) && cidr(self.spec.cidr).containsCIDR(cidr(self.status.sealed.keep)))))",message="an owned range shrinks only to what its owner has sealed in this epoch",fieldPath=".spec.cidr"
type AddressRange struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// Who owns which addresses.
	// +required
	Spec AddressRangeSpec `json:"spec"`

	// What the owning agent says of it.
	// +optional
	Status AddressRangeStatus `json:"status,omitzero"`
}

// AddressRangeSpec is the record of ownership.
//
// +kubebuilder:validation:XValidation:rule="self.pool == oldSelf.pool",message="pool is immutable",fieldPath=".pool"
// +kubebuilder:validation:XValidation:rule="!isCIDR(self.cidr) || (cidr(oldSelf.cidr).containsCIDR(cidr(self.cidr)) && cidr(oldSelf.cidr).ip() == cidr(self.cidr).ip())",message="cidr may only shrink, and keeps its first address",fieldPath=".cidr"
// +kubebuilder:validation:XValidation:rule="(has(self.owner) ? has(oldSelf.owner) && self.owner.uid == oldSelf.owner.uid && self.owner.name == oldSelf.owner.name : !has(oldSelf.owner)) ? self.epoch == oldSelf.epoch : self.epoch == oldSelf.epoch + 1",message="epoch rises by exactly one when the owner changes, and only then",fieldPath=".epoch"
// +kubebuilder:validation:XValidation:rule="((has(self.owner) ? has(oldSelf.owner) && self.owner.uid == oldSelf.owner.uid && self.owner.name == oldSelf.owner.name : !has(oldSelf.owner)) && (!has(self.previousOwner) || (has(oldSelf.previousOwner) && self.previousOwner.uid == oldSelf.previousOwner.uid && self.previousOwner.name == oldSelf.previousOwner.name))) || (!(has(self.owner) ? has(oldSelf.owner) && self.owner.uid == oldSelf.owner.uid && self.owner.name == oldSelf.owner.name : !has(oldSelf.owner)) && (has(oldSelf.owner) ? has(self.previousOwner) && self.previousOwner.uid == oldSelf.owner.uid && self.previousOwner.name == oldSelf.owner.name : has(oldSelf.previousOwner) ? has(self.previousOwner) && self.previousOwner.uid == oldSelf.previousOwner.uid : !has(self.previousOwner)))",message="previousOwner is the owner just replaced, and otherwise may only be cleared",fieldPath=".previousOwner"
// +kubebuilder:validation:XValidation:rule="(has(self.owner) ? has(oldSelf.owner) && self.owner.uid == oldSelf.owner.uid && self.owner.name == oldSelf.owner.name : !has(oldSelf.owner)) || self.cidr == oldSelf.cidr",message="one write changes the owner or the cidr, never both",fieldPath=".cidr"
// +kubebuilder:validation:XValidation:rule="oldSelf.hasValue() || (!has(self.owner) && !has(self.previousOwner) && !has(self.reserved) && !has(self.keep) && self.epoch == 0)",optionalOldSelf=true,message="a range begins as a claim: no owner, epoch 0"
// +kubebuilder:validation:XValidation:rule="!isCIDR(self.cidr) || !has(self.reserved) || self.reserved.all(r, isIP(r.address) && cidr(self.cidr).containsIP(r.address))",message="reserved: every entry is an address of this range",fieldPath=".reserved"
// +kubebuilder:validation:XValidation:rule="!isCIDR(self.cidr) || cidr(self.cidr).prefixLength() >= (cidr(self.cidr).ip().family() == 4 ? 8 : 104)",message="a range holds at most 2^24 addresses",fieldPath=".cidr"
// +kubebuilder:validation:XValidation:rule="!isCIDR(self.cidr) || !has(self.keep) || self.keep.size() == 0 || (isCIDR(self.keep) && cidr(self.cidr).containsCIDR(cidr(self.keep)) && cidr(self.keep).ip() == cidr(self.cidr).ip())",message="keep is a CIDR that starts where the range starts, or empty to ask for all of it",fieldPath=".keep"
type AddressRangeSpec struct {
	// The AddressPool this range is cut from. Immutable.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Pool string `json:"pool"`

	// The range's addresses. It may only shrink, and keeps its first address.
	// +required
	// +kubebuilder:validation:MaxLength=43
	// +kubebuilder:validation:XValidation:rule="isCIDR(self) && string(cidr(self).masked()) == self",message="not a CIDR in canonical form without host bits"
	CIDR string `json:"cidr"`

	// The Peer object, by name and uid, that may allocate from it. Absent:
	// nobody may.
	// +optional
	Owner *PeerReference `json:"owner,omitempty"`

	// The owner just replaced, until the new one has reported the epoch.
	// +optional
	PreviousOwner *PeerReference `json:"previousOwner,omitempty"`

	// The fencing token. 0 is a claim, never owned; it rises by one exactly
	// when the owner changes, and an agent never acts on a lower one than it
	// has seen.
	// +required
	// +kubebuilder:validation:Minimum=0
	Epoch int64 `json:"epoch"`

	// Addresses withheld from allocation while the Pod of that uid carries
	// them.
	// +optional
	// +listType=map
	// +listMapKey=address
	// +kubebuilder:validation:MaxItems=4096
	Reserved []Reservation `json:"reserved,omitempty"`

	// Asked back: everything outside this CIDR, or, if empty, all of it.
	// Absent: nothing is asked back.
	// +optional
	// +kubebuilder:validation:MaxLength=43
	Keep *string `json:"keep,omitempty"`
}

// PeerReference names one incarnation of a peer: a Peer object made anew under
// the same name has another uid and owns nothing of its namesake's.
//
// +structType=atomic
type PeerReference struct {
	// The Peer's name, which is its node's.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// The Peer's uid.
	// +kubebuilder:validation:Type=string
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	UID types.UID `json:"uid"`
}

// Reservation withholds one address while one Pod carries it.
type Reservation struct {
	// The address.
	// +required
	// +kubebuilder:validation:MaxLength=39
	Address string `json:"address"`
	// The Pod that was seen with it.
	// +kubebuilder:validation:Type=string
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	PodUID types.UID `json:"podUID"`
}

// AddressRangeStatus is the owning agent's.
//
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.sealed) || (has(self.observedEpoch) && self.observedEpoch > oldSelf.sealed.epoch) || (has(self.sealed) && (self.sealed.epoch > oldSelf.sealed.epoch || (self.sealed.epoch == oldSelf.sealed.epoch && (!has(self.sealed.keep) || self.sealed.keep.size() == 0 || (has(oldSelf.sealed.keep) && isCIDR(oldSelf.sealed.keep) && isCIDR(self.sealed.keep) && cidr(oldSelf.sealed.keep).containsCIDR(cidr(self.sealed.keep)))))))",message="a seal is undone only by a new epoch",fieldPath=".sealed"
type AddressRangeStatus struct {
	// The epoch the owning agent acts on.
	// +optional
	// +kubebuilder:validation:Minimum=0
	ObservedEpoch int64 `json:"observedEpoch,omitempty"`

	// How many of the addresses pods and the host hold.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Used int64 `json:"used,omitempty"`

	// The agent's answer to keep: outside it no link holds an address, and
	// none will be given. Undone only by a new epoch.
	// +optional
	Sealed *RangeSeal `json:"sealed,omitempty"`
}

// RangeSeal is an agent's promise about one epoch of a range.
type RangeSeal struct {
	// The epoch the promise is made in.
	// +required
	// +kubebuilder:validation:Minimum=0
	Epoch int64 `json:"epoch"`
	// The keep it answers; empty: all of the range is given back.
	// +optional
	// +kubebuilder:validation:MaxLength=43
	// +kubebuilder:validation:XValidation:rule="self.size() == 0 || isCIDR(self)",message="keep is a CIDR, or empty to give all of it back"
	Keep string `json:"keep,omitempty"`
}

// AddressRangeList is a list of AddressRange.
//
// +kubebuilder:object:root=true
type AddressRangeList struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ListMeta `json:"metadata,omitzero"`
	Items           []AddressRange `json:"items"`
}
