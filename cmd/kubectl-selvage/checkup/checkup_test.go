// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package checkup

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/version"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/inventory"
	"github.com/selvage-net/selvage/node-agent/diagnosis"
)

var now = time.Date(2026, 11, 23, 3, 13, 0, 0, time.UTC)

func named(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, UID: types.UID("uid-" + name)}
}

func yes(kind string) metav1.Condition {
	return metav1.Condition{Type: kind, Status: metav1.ConditionTrue, Message: "because"}
}

func lease(holder string, age time.Duration) coordinationv1.Lease {
	renewed := metav1.NewMicroTime(now.Add(-age))
	return coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder, RenewTime: &renewed}}
}

func pod(name, node string) corev1.Pod {
	return corev1.Pod{ObjectMeta: named(name), Spec: corev1.PodSpec{NodeName: node}, Status: corev1.PodStatus{
		Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
	}}
}

// well is an installation of three nodes where nothing is wrong.
func well() *Cluster {
	c := &Cluster{
		State: inventory.New("selvage-system"), Now: now, Client: "v1",
		Server: version.Info{Major: "1", Minor: "37", GitVersion: "v1.37.2"}, ServiceIP: "10.96.0.1",
		Controllers: []corev1.Pod{pod("controller-0", "host1")},
	}
	for _, ours := range ourKinds() {
		d := *ours.DeepCopy()
		d.Status.Conditions = []apiextensionsv1.CustomResourceDefinitionCondition{{Type: apiextensionsv1.Established, Status: apiextensionsv1.ConditionTrue}}
		c.Kinds = append(c.Kinds, d)
	}
	for _, p := range ourPolicies() {
		c.Policies = append(c.Policies, *p.DeepCopy())
	}
	for _, b := range document[admissionv1.ValidatingAdmissionPolicyBinding]("ValidatingAdmissionPolicyBinding")() {
		c.Bindings = append(c.Bindings, b)
	}
	leader := lease("controller-0", time.Second)
	c.Leader, c.Leases = &leader, map[string]coordinationv1.Lease{}
	c.Pools = []v1alpha1.AddressPool{{ObjectMeta: named("default"), Spec: v1alpha1.AddressPoolSpec{CIDR: "10.32.0.0/12"}}}
	c.Pools[0].Status.Conditions = []metav1.Condition{yes(v1alpha1.ConditionAccepted)}
	for _, name := range []string{"host1", "host2", "host3"} {
		address := "192.168.77.1" + name[4:]
		c.Nodes = append(c.Nodes, corev1.Node{ObjectMeta: named(name), Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: address}}}})
		c.Agents = append(c.Agents, pod("agent-"+name, name))
		c.Peers = append(c.Peers, v1alpha1.Peer{ObjectMeta: named(name), Status: v1alpha1.PeerStatus{
			Underlay: []string{address}, Agent: &v1alpha1.AgentReport{Version: "v1", Underlay: []string{address}}, Conditions: []metav1.Condition{yes(v1alpha1.ConditionReady)},
		}})
		c.Leases[name] = lease("uid-"+name+"/1", time.Second)
	}
	return c
}

func TestWell(t *testing.T) {
	if k, p := len(ourKinds()), len(ourPolicies()); k != 4 || p < 8 {
		t.Fatalf("%d kinds and %d policies were built in", k, p)
	}
	r := Judge(well())
	if len(r.Findings) > 0 {
		t.Errorf("found %+v", r.Findings)
	}
	for _, result := range r.Results {
		if result.Verdict != diagnosis.OK {
			t.Errorf("%+v", result)
		}
	}
}

// Whatever is wrong is found, by the check that is meant to, with something to
// do; and nothing else is.
func TestFindings(t *testing.T) {
	of := func(all []admissionv1.ValidatingAdmissionPolicy, name string) int {
		return slices.IndexFunc(all, func(p admissionv1.ValidatingAdmissionPolicy) bool { return p.Name == name })
	}
	crd := func(c *Cluster, name string) *apiextensionsv1.CustomResourceDefinition {
		return &c.Kinds[slices.IndexFunc(c.Kinds, func(d apiextensionsv1.CustomResourceDefinition) bool { return strings.HasPrefix(d.Name, name) })]
	}
	for name, test := range map[string]struct {
		harm     func(*Cluster)
		check    string
		severity diagnosis.Severity
		object   string
	}{
		"an old server":         {func(c *Cluster) { c.Server.Minor = "33+" }, "server", diagnosis.Warning, "cluster"},
		"no CRD":                {func(c *Cluster) { crd(c, "peers.").Name = "others" }, "kinds", diagnosis.Error, "customresourcedefinition/peers.net.selvage.dev"},
		"a CRD not established": {func(c *Cluster) { crd(c, "peers.").Status.Conditions = nil }, "kinds", diagnosis.Error, "customresourcedefinition/peers.net.selvage.dev"},
		"a CRD of another version": {func(c *Cluster) {
			schema := crd(c, "addressranges").Spec.Versions[0].Schema.OpenAPIV3Schema
			schema.XValidations = schema.XValidations[1:]
		}, "kinds", diagnosis.Warning, "customresourcedefinition/addressranges.net.selvage.dev"},
		"no policy": {func(c *Cluster) { c.Policies[of(c.Policies, "agent-writes-its-own")].Name = "x" }, "policies", diagnosis.Error, "validatingadmissionpolicy/agent-writes-its-own"},
		"a policy unbound": {func(c *Cluster) {
			c.Bindings = slices.DeleteFunc(c.Bindings, func(b admissionv1.ValidatingAdmissionPolicyBinding) bool {
				return b.Spec.PolicyName == "peer-single-writer"
			})
		}, "policies", diagnosis.Error, "validatingadmissionpolicy/peer-single-writer"},
		"a policy that only warns": {func(c *Cluster) {
			for i := range c.Bindings {
				if c.Bindings[i].Spec.PolicyName == "peer-single-writer" {
					c.Bindings[i].Spec.ValidationActions = []admissionv1.ValidationAction{admissionv1.Warn}
				}
			}
		}, "policies", diagnosis.Error, "validatingadmissionpolicy/peer-single-writer"},
		"a policy that looks away": {func(c *Cluster) {
			ignore := admissionv1.Ignore
			c.Policies[of(c.Policies, "peer-single-writer")].Spec.FailurePolicy = &ignore
		}, "policies", diagnosis.Warning, "validatingadmissionpolicy/peer-single-writer"},
		"a policy of another version": {func(c *Cluster) {
			p := &c.Policies[of(c.Policies, "addressrange-single-writer")]
			p.Spec.Validations[0].Expression = "true"
		}, "policies", diagnosis.Warning, "validatingadmissionpolicy/addressrange-single-writer"},
		"a guard left out":     {func(c *Cluster) { c.Policies[of(c.Policies, "selvage-peers-crd-stays")].Name = "x" }, "policies", diagnosis.Warning, "validatingadmissionpolicy/selvage-peers-crd-stays"},
		"no leader":            {func(c *Cluster) { c.Leader = nil }, "controller", diagnosis.Error, "lease/" + v1alpha1.LeaderLease},
		"nobody leads":         {func(c *Cluster) { *c.Leader = lease("", time.Second) }, "controller", diagnosis.Error, "lease/"},
		"a silent leader":      {func(c *Cluster) { *c.Leader = lease("controller-0", 61*time.Second) }, "controller", diagnosis.Error, "lease/"},
		"a broken controller":  {func(c *Cluster) { c.Controllers[0].Status.Conditions[0].Status = corev1.ConditionFalse }, "controller", diagnosis.Warning, "pod/controller-0"},
		"a node without agent": {func(c *Cluster) { c.Agents, c.Peers = c.Agents[1:], c.Peers[1:] }, "agents", diagnosis.Error, "node/host1"},
		"an agent that crashes": {func(c *Cluster) {
			c.Agents[1].Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}}}
		}, "agents", diagnosis.Error, "node/host2"},
		"an agent that has not joined": {func(c *Cluster) { c.Peers = c.Peers[1:] }, "agents", diagnosis.Error, "node/host1"},
		"another version":              {func(c *Cluster) { c.Peers[2].Status.Agent.Version = "v0" }, "versions", diagnosis.Warning, "peer/host3"},
		"no lease":                     {func(c *Cluster) { delete(c.Leases, "host2") }, "peers", diagnosis.Error, "peer/host2"},
		"a sealed lease":               {func(c *Cluster) { c.Leases["host2"] = lease(v1alpha1.SealedHolder, 0) }, "peers", diagnosis.Error, "peer/host2"},
		"suspended":                    {func(c *Cluster) { c.Peers[0].Status.Agent.Suspended = "StateRegressed: …" }, "peers", diagnosis.Error, "peer/host1"},
		"no underlay":                  {func(c *Cluster) { c.Peers[0].Status.Underlay = nil }, "peers", diagnosis.Error, "peer/host1"},
		"not ready":                    {func(c *Cluster) { c.Peers[0].Status.Conditions[0].Status = metav1.ConditionFalse }, "peers", diagnosis.Warning, "peer/host1"},
		"no pool":                      {func(c *Cluster) { c.Pools = nil }, "pools", diagnosis.Error, "cluster"},
		"a pool refused":               {func(c *Cluster) { c.Pools[0].Status.Conditions = nil }, "pools", diagnosis.Error, "addresspool/default"},
		"a full pool": {func(c *Cluster) {
			c.Pools[0].Status.Conditions = append(c.Pools[0].Status.Conditions, yes(v1alpha1.ConditionExhausted))
		}, "pools", diagnosis.Warning, "addresspool/default"},
		"removals held": {func(c *Cluster) {
			c.Pools[0].Status.Conditions = append(c.Pools[0].Status.Conditions, yes(v1alpha1.ConditionRemovalsHeld))
		}, "pools", diagnosis.Warning, "addresspool/default"},
		"a node in the pool":   {func(c *Cluster) { c.Nodes[0].Status.Addresses[0].Address = "10.40.0.1" }, "pools", diagnosis.Error, "addresspool/default"},
		"services in the pool": {func(c *Cluster) { c.ServiceIP = "10.32.0.1" }, "pools", diagnosis.Error, "addresspool/default"},
		"a stalled removal": {func(c *Cluster) {
			c.Removals = []v1alpha1.PeerRemoval{{ObjectMeta: named("host3"), Status: v1alpha1.PeerRemovalStatus{Phase: v1alpha1.RemovalFencing, Conditions: []metav1.Condition{yes(v1alpha1.ConditionStalled)}}}}
		}, "removals", diagnosis.Warning, "peer/host3"},
	} {
		t.Run(name, func(t *testing.T) {
			c := well()
			test.harm(c)
			r := Judge(c)
			if len(r.Findings) != 1 {
				t.Fatalf("found %+v", r.Findings)
			}
			f := r.Findings[0]
			if f.Check != test.check || f.Severity != test.severity || f.Object != test.object && !(strings.HasSuffix(test.object, "/") && strings.HasPrefix(f.Object, test.object)) || f.Remedy == "" {
				t.Errorf("want %s %s %s, found %+v", test.severity, test.check, test.object, f)
			}
		})
	}
}

// A node that is declared out, or is no Linux, needs no agent; and one that has
// joined has one, whoever started it.
func TestNodesWithoutAgents(t *testing.T) {
	c := well()
	c.Nodes = append(c.Nodes, corev1.Node{ObjectMeta: named("win")}, corev1.Node{ObjectMeta: named("out")})
	c.Nodes[3].Labels = map[string]string{corev1.LabelOSStable: "windows"}
	c.Removals = []v1alpha1.PeerRemoval{{ObjectMeta: named("out"), Status: v1alpha1.PeerRemovalStatus{Phase: v1alpha1.RemovalRemoved}}}
	c.Agents = c.Agents[1:]
	if r := Judge(c); len(r.Findings) > 0 {
		t.Errorf("found %+v", r.Findings)
	}
}

// What could not be read is neither well nor wrong.
func TestUnread(t *testing.T) {
	for _, check := range checks {
		for _, p := range check.needs {
			c := well()
			c.Unread[p] = errors.New("forbidden")
			for _, result := range Judge(c).Results {
				if result.Check == check.name && result.Verdict != diagnosis.NotChecked {
					t.Errorf("%s without %s: %+v", check.name, p, result)
				}
			}
		}
	}
}

func TestAbout(t *testing.T) {
	c := well()
	delete(c.Leases, "host2")
	delete(c.Leases, "host3")
	r := About(Judge(c), "host3")
	if len(r.Findings) != 1 || r.Findings[0].Object != "peer/host3" {
		t.Errorf("found %+v", r.Findings)
	}
	if r := About(Judge(c), "host1"); len(r.Findings) > 0 || slices.ContainsFunc(r.Results, func(r diagnosis.Result) bool { return r.Verdict != diagnosis.OK }) {
		t.Errorf("found %+v", r)
	}
}

func TestCompare(t *testing.T) {
	report := func(name string, mtu, port int) diagnosis.Report {
		return diagnosis.Report{Subject: "node/" + name, Traits: &diagnosis.Traits{Encapsulation: "vxlan", Port: port, VNI: 1, MTU: mtu}}
	}
	if found := Compare([]diagnosis.Report{report("a", 1450, 4789), report("b", 1450, 4789), report("c", 0, 4789), {}}); len(found) > 0 {
		t.Errorf("found %+v", found)
	}
	found := Compare([]diagnosis.Report{report("a", 1450, 4789), report("b", 8950, 4789), report("c", 1450, 8472)})
	if len(found) != 2 || found[0].Message != "the VXLAN port differs: 4789 on a, b; 8472 on c" || found[1].Message != "the pods' MTU differs: 1450 on a, c; 8950 on b" {
		t.Errorf("found %+v", found)
	}
}
