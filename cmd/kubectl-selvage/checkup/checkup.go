// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

// Package checkup judges an installation as it is seen through the API: what
// goes wrong in practice around the ownership that audit judges. It is pure.
package checkup

import (
	"slices"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/version"

	"github.com/selvage-net/selvage/cmd/kubectl-selvage/inventory"
	"github.com/selvage-net/selvage/node-agent/diagnosis"
)

// Parts beside those of inventory.
const (
	Kinds    inventory.Part = "customresourcedefinitions"
	Policies inventory.Part = "validatingadmissionpolicies"
	Ours     inventory.Part = "pods of the installation"
	Server   inventory.Part = "the API server's version"
	Service  inventory.Part = "the service kubernetes"
)

// Cluster is what was read.
type Cluster struct {
	// State has pools, removals, peers, leases and nodes, and in Unread also
	// what of the parts above could not be read.
	*inventory.State
	Kinds    []apiextensionsv1.CustomResourceDefinition
	Policies []admissionv1.ValidatingAdmissionPolicy
	Bindings []admissionv1.ValidatingAdmissionPolicyBinding
	// Agents and Controllers are the pods of the installation.
	Agents, Controllers []corev1.Pod
	Server              version.Info
	// ServiceIP is the API server's inside the cluster: one of the services'.
	ServiceIP string
	// Client is this program's version.
	Client string
	Now    time.Time
}

type check struct {
	name, looked string
	needs        []inventory.Part
	judge        func(*Cluster) []diagnosis.Finding
}

var checks = []check{
	{"server", "the API server's version", []inventory.Part{Server}, server},
	{"kinds", "the CRDs, compared with those of this program", []inventory.Part{Kinds}, kinds},
	{"policies", "the admission policies, compared with those of this program", []inventory.Part{Policies}, policies},
	{"controller", "whether a controller leads, and its pods", []inventory.Part{inventory.Leases, Ours}, controller},
	{"agents", "an agent on each node, and its pod", []inventory.Part{Ours, inventory.Nodes, inventory.Peers, inventory.Removals}, agents},
	{"versions", "the versions that agents report", []inventory.Part{inventory.Peers}, versions},
	{"peers", "leases, underlay addresses and conditions of the peers", []inventory.Part{inventory.Peers, inventory.Leases}, peers},
	{"pools", "the pools: accepted, room left, overlap with nodes and services", []inventory.Part{inventory.Pools, inventory.Nodes, Service}, pools},
	{"removals", "removals that only a person can move on", []inventory.Part{inventory.Removals, inventory.Peers}, removals},
}

// Judge looks at everything.
func Judge(c *Cluster) diagnosis.Report {
	r := diagnosis.Report{Subject: "cluster", Version: c.Client, Results: []diagnosis.Result{}, Findings: []diagnosis.Finding{}}
	for _, check := range checks {
		result := diagnosis.Result{Check: check.name, Verdict: diagnosis.OK, Looked: check.looked}
		var missing []string
		for _, p := range check.needs {
			if err := c.Unread[p]; err != nil {
				missing = append(missing, string(p)+": "+err.Error())
			}
		}
		if len(missing) > 0 {
			result.Verdict, result.Looked = diagnosis.NotChecked, strings.Join(missing, "; ")
			r.Results = append(r.Results, result)
			continue
		}
		for _, f := range check.judge(c) {
			f.Check = check.name
			result.Verdict = diagnosis.Found
			r.Findings = append(r.Findings, f)
		}
		r.Results = append(r.Results, result)
	}
	return r
}

// About keeps what concerns one node.
func About(r diagnosis.Report, node string) diagnosis.Report {
	r.Findings = slices.DeleteFunc(slices.Clone(r.Findings), func(f diagnosis.Finding) bool {
		return f.Object != "node/"+node && f.Object != "peer/"+node
	})
	r.Results = slices.Clone(r.Results)
	for i, result := range r.Results {
		found := slices.ContainsFunc(r.Findings, func(f diagnosis.Finding) bool { return f.Check == result.Check })
		if result.Verdict == diagnosis.Found && !found {
			r.Results[i].Verdict = diagnosis.OK
		}
	}
	return r
}
