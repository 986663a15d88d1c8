// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

// Package v1alpha1 holds Selvage's custom resources.
//
// Ownership lives in Peer and AddressRange, which only Selvage writes; people
// and pipelines write AddressPool and PeerRemoval. The rules that must hold
// against any client, a broken controller included, are CEL markers on the
// types; who may write what is in config/admission.
//
// +kubebuilder:object:generate=true
// +groupName=net.selvage.dev
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is the API group and version of every kind in this package.
var GroupVersion = schema.GroupVersion{Group: "net.selvage.dev", Version: "v1alpha1"}

// AddToScheme registers every kind of this package.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion,
		&AddressPool{}, &AddressPoolList{},
		&AddressRange{}, &AddressRangeList{},
		&Peer{}, &PeerList{},
		&PeerRemoval{}, &PeerRemovalList{},
	)
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}
