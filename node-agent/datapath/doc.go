// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

// Package datapath is a node's network: pods on routed veths, tunnels or direct
// routes to the other peers, and the filters that keep what must not be heard
// from being heard.
//
// The kernel is the record. What is in use is what links say in their alias;
// what is routed is what the routing table shows. Nothing is remembered that
// can be read, so an agent that starts again finds what the last one left.
//
//   - Attach and Detach serve single pods and are fast (attach.go, detach.go);
//   - Set brings everything else to a desired state: read, plan, apply. The plan
//     (plan.go) is a pure function and is tested as one.
//
// What belongs to Selvage is marked, so that nothing else is touched: veths by
// name and alias, routes by their protocol number, the VXLAN device by its
// name, nftables by the table `inet selvage`.
package datapath
