// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// AddressPool is a CIDR that peers draw their ranges from. One IPv4 and one
// IPv6 pool give dual stack. Written by people.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=apool,categories=selvage
// +kubebuilder:printcolumn:name="CIDR",type=string,JSONPath=`.spec.cidr`
// +kubebuilder:printcolumn:name="Total",type=string,JSONPath=`.status.addresses.total`
// +kubebuilder:printcolumn:name="Assigned",type=string,JSONPath=`.status.addresses.assigned`
// +kubebuilder:printcolumn:name="Used",type=string,JSONPath=`.status.addresses.used`
// +kubebuilder:printcolumn:name="Free",type=string,JSONPath=`.status.addresses.free`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1
type AddressPool struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// What the pool holds and how it is divided.
	// +required
	Spec AddressPoolSpec `json:"spec"`

	// What the controller has made of it.
	// +optional
	// +default={"observedGeneration": -1}
	Status AddressPoolStatus `json:"status,omitzero"`
}

// AddressPoolSpec says what the pool holds and how it is divided.
//
// +kubebuilder:validation:XValidation:rule="self.cidr == oldSelf.cidr",message="cidr is immutable: make another pool",fieldPath=".cidr"
// +kubebuilder:validation:XValidation:rule="!isCIDR(self.cidr) || self.?rangePrefixLength.orValue(cidr(self.cidr).prefixLength()) >= cidr(self.cidr).prefixLength()",message="rangePrefixLength: a range cannot be larger than its pool",fieldPath=".rangePrefixLength"
// +kubebuilder:validation:XValidation:rule="!isCIDR(self.cidr) || self.?rangePrefixLength.orValue(0) <= (cidr(self.cidr).ip().family() == 4 ? 32 : 128)",message="rangePrefixLength: longer than an address of this family",fieldPath=".rangePrefixLength"
// +kubebuilder:validation:XValidation:rule="!isCIDR(self.cidr) || (cidr(self.cidr).ip().family() == 4 ? self.?rangePrefixLength.orValue(24) >= 8 : self.?rangePrefixLength.orValue(120) >= 104)",message="rangePrefixLength: a range holds at most 2^24 addresses (IPv4 /8, IPv6 /104)",fieldPath=".rangePrefixLength"
// +kubebuilder:validation:XValidation:rule="!isCIDR(self.cidr) || self.?maxRangePrefixLength.orValue(cidr(self.cidr).prefixLength()) >= cidr(self.cidr).prefixLength()",message="maxRangePrefixLength: a range cannot be larger than its pool",fieldPath=".maxRangePrefixLength"
// +kubebuilder:validation:XValidation:rule="!isCIDR(self.cidr) || self.?maxRangePrefixLength.orValue(0) <= (cidr(self.cidr).ip().family() == 4 ? 32 : 128)",message="maxRangePrefixLength: longer than an address of this family",fieldPath=".maxRangePrefixLength"
// +kubebuilder:validation:XValidation:rule="!has(self.maxRangePrefixLength) || !has(self.rangePrefixLength) || self.maxRangePrefixLength <= self.rangePrefixLength",message="maxRangePrefixLength names the largest range: it is a number no higher than rangePrefixLength",fieldPath=".maxRangePrefixLength"
// +kubebuilder:validation:XValidation:rule="!isCIDR(self.cidr) || (cidr(self.cidr).ip().family() == 4 ? self.?maxRangePrefixLength.orValue(20) >= 8 : self.?maxRangePrefixLength.orValue(108) >= 104)",message="maxRangePrefixLength: a range holds at most 2^24 addresses (IPv4 /8, IPv6 /104)",fieldPath=".maxRangePrefixLength"
type AddressPoolSpec struct {
	// The pool's addresses, IPv4 or IPv6, such as 10.32.0.0/12 or
	// fd00:10::/64, in canonical form without host bits. Immutable.
	// +required
	// +kubebuilder:validation:MaxLength=43
	// +kubebuilder:validation:XValidation:rule="isCIDR(self)",message="not a CIDR, such as 10.32.0.0/12 or fd00:10::/64"
	// +kubebuilder:validation:XValidation:rule="!isCIDR(self) || string(cidr(self).masked()) == self",message="host bits are set, or not in canonical form"
	// +kubebuilder:validation:XValidation:rule="!isCIDR(self) || cidr(self).ip().isGlobalUnicast()",message="not addresses for pods: unspecified, loopback, link-local or multicast"
	CIDR string `json:"cidr"`

	// The size of the first range a peer is granted, as a prefix length.
	// By default 24 for IPv4 and 120 for IPv6 (or the pool's own or
	// maxRangePrefixLength, if longer).
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=128
	RangePrefixLength *int32 `json:"rangePrefixLength,omitempty"`

	// The size of the largest range, as a prefix length: each further range
	// of a peer is double the one before, up to this. By default 20 for IPv4
	// and 116 for IPv6, within what rangePrefixLength and the pool allow. A
	// range holds at most 2^24 addresses.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=128
	MaxRangePrefixLength *int32 `json:"maxRangePrefixLength,omitempty"`

	// Which nodes' peers draw from this pool, by the Node's labels. By
	// default all.
	// +optional
	// +kubebuilder:validation:XValidation:rule="!has(self.matchExpressions) || self.matchExpressions.all(e, e.operator in ['In', 'NotIn'] ? has(e.values) && e.values.size() > 0 : e.operator in ['Exists', 'DoesNotExist'] && (!has(e.values) || e.values.size() == 0))",message="matchExpressions: operator is In or NotIn with values, or Exists or DoesNotExist without",fieldPath=".matchExpressions"
	NodeSelector *metav1.LabelSelector `json:"nodeSelector,omitempty"`
}

// AddressPoolStatus is the controller's.
type AddressPoolStatus struct {
	// The generation this status speaks of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// How many addresses the pool has, by what has become of them.
	// +optional
	Addresses *AddressCounts `json:"addresses,omitempty"`

	// Ready, Accepted and Exhausted. A pool that overlaps an accepted pool is
	// not accepted, and the condition names the other; an accepted pool stays
	// accepted.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// AddressCounts are decimal numbers as strings: IPv6 totals overflow 64 bits.
type AddressCounts struct {
	// All addresses of the pool.
	// +optional
	// +kubebuilder:validation:MaxLength=40
	Total string `json:"total,omitempty"`
	// Those in ranges that have an owner.
	// +optional
	// +kubebuilder:validation:MaxLength=40
	Assigned string `json:"assigned,omitempty"`
	// Those that pods and hosts hold, as the peers report.
	// +optional
	// +kubebuilder:validation:MaxLength=40
	Used string `json:"used,omitempty"`
	// Those withheld because a pod of a removed peer may still carry them.
	// +optional
	// +kubebuilder:validation:MaxLength=40
	Reserved string `json:"reserved,omitempty"`
	// Those that no range covers.
	// +optional
	// +kubebuilder:validation:MaxLength=40
	Free string `json:"free,omitempty"`
}

// AddressPoolList is a list of AddressPool.
//
// +kubebuilder:object:root=true
type AddressPoolList struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ListMeta `json:"metadata,omitzero"`
	Items           []AddressPool `json:"items"`
}
