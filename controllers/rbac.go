// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

// What the controller may do; config/rbac/role.yaml is generated from here.
//
// Ownership is changed by PUT alone, so there is no patch on addressranges or
// peers, and their status is the agents' (addressranges) or shared (peers). The
// verb own is no API operation: the admission policies ask for it to tell the
// controller from a service account that merely has its name.
//
// Leases are read in every namespace, because the kubelets' lie in
// kube-node-lease, and written only in Selvage's own. Events about
// cluster-scoped objects lie in the namespace default.
//
// +kubebuilder:rbac:groups=net.selvage.dev,resources=addressranges,verbs=get;list;watch;create;update;delete;own
// +kubebuilder:rbac:groups=net.selvage.dev,resources=addressranges/status,verbs=get
// +kubebuilder:rbac:groups=net.selvage.dev,resources=peers,verbs=get;list;watch;update;delete
// +kubebuilder:rbac:groups=net.selvage.dev,resources=peerremovals;addresspools,verbs=get;list;watch;update;patch
// +kubebuilder:rbac:groups=net.selvage.dev,resources=peers/status;peerremovals/status;addresspools/status,verbs=get;update;patch
// +kubebuilder:rbac:groups=net.selvage.dev,resources=peers/finalizers;peerremovals/finalizers;addresspools/finalizers;addressranges/finalizers,verbs=update
// +kubebuilder:rbac:groups="",resources=nodes;pods,verbs=get;list;watch
// +kubebuilder:rbac:groups=coordination.k8s.io,resources=leases,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=events,verbs=create;patch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch
// +kubebuilder:rbac:groups=coordination.k8s.io,namespace=selvage-system,resources=leases,verbs=create;update;patch;delete
