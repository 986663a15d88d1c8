// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// policyRule is a validation of an admission policy, found by the policy's
// name and the message.
type policyRule struct {
	policy, message string
	// says is in the refusal, where that is not the message.
	says    string
	refuses []deed
	passes  []deed
}

func (r policyRule) String() string { return r.policy + ": " + r.message }

// deed is a request by somebody in the scene of setTheScene.
type deed struct {
	who  func() caller
	what string
	do   request
}

type request func(ctx context.Context, c client.Client) error

func admin() caller      { return who.admin }
func controller() caller { return who.controller }
func host1() caller      { return who.host1 }
func host2() caller      { return who.host2 }
func unbound() caller    { return who.unbound }
func pipeline() caller   { return who.pipeline }
func bystander() caller  { return who.bystander }
func impostor() caller   { return who.impostor }

func creates(kind, name, body string) request {
	return func(ctx context.Context, c client.Client) error { return c.Create(ctx, parse(kind, name, body)) }
}

func patches(kind, name, body string) request {
	return func(ctx context.Context, c client.Client) error { return patch(ctx, c, kind, name, body) }
}

func deletes(kind, name string) request {
	return func(ctx context.Context, c client.Client) error { return c.Delete(ctx, empty(kind, name)) }
}

// deletesAll is one request that names no object.
func deletesAll(kind string) request {
	return func(ctx context.Context, c client.Client) error { return c.DeleteAllOf(ctx, empty(kind, "")) }
}

// forces is a server-side apply that takes every field over.
func forces(kind, name, body string) request {
	return func(ctx context.Context, c client.Client) error {
		return c.Apply(ctx, client.ApplyConfigurationFromUnstructured(parse(kind, name, body)), client.FieldOwner("pipeline"), client.ForceOwnership)
	}
}

// afterGlass has somebody who may annotate the object break the glass first.
func afterGlass(kind, name string, do request) request {
	return func(ctx context.Context, c client.Client) error {
		err := patch(ctx, c, kind, name, `metadata: {annotations: {net.selvage.dev/break-glass: "because of a test"}}`)
		return errors.Join(err, do(ctx, c))
	}
}

// setTheScene: the peers host1 and host3 with a range each, reserved addresses,
// a claim, and declarations that the controller has put its finalizers on.
func setTheScene(ctx context.Context) {
	GinkgoHelper()
	add := func(kind, name, body string, changes ...string) {
		DeferCleanup(func(ctx SpecContext) { remove(ctx, who.admin, kind, name) })
		Expect(who.admin.Create(ctx, glass(parse(kind, name, body)))).To(Succeed())
		for _, change := range append(changes, `metadata: {annotations: {net.selvage.dev/break-glass: null}}`) {
			Expect(patch(ctx, who.admin, kind, name, change)).To(Succeed())
		}
	}
	add(kindPool, "default", `{metadata: {finalizers: [net.selvage.dev/pool]}, spec: {cidr: 10.32.0.0/12}}`)
	add(kindRemoval, "host3", `{metadata: {finalizers: [net.selvage.dev/removal]}, spec: {heir: host1}}`)
	add(kindPeer, "host1", `{metadata: {finalizers: [net.selvage.dev/ownership]}, spec: {nodeName: host1, instanceID: instance-1}}`,
		`status: {phase: Active, agent: {version: v1}}`)
	add(kindPeer, "host3", `{metadata: {finalizers: [net.selvage.dev/ownership]}, spec: {nodeName: host3, instanceID: instance-3}}`)
	add(kindRange, "10.32.0.0", `spec: {pool: default, cidr: 10.32.0.0/16, epoch: 0}`, `spec: {owner: {name: host1, uid: uid-1}, epoch: 1}`)
	add(kindRange, "10.33.0.0", `spec: {pool: default, cidr: 10.33.0.0/16, epoch: 0}`, `spec: {owner: {name: host3, uid: uid-3}, epoch: 1}`)
	add(kindRange, "10.34.0.0", `spec: {pool: default, cidr: 10.34.0.0/16, epoch: 0}`, `spec: {reserved: [{address: 10.34.0.7, podUID: pod-7}]}`)
	add(kindRange, "10.35.0.0", `spec: {pool: default, cidr: 10.35.0.0/16, epoch: 0}`)
	add(kindRange, "10.36.0.0", `{metadata: {finalizers: [example.com/hold]}, spec: {pool: default, cidr: 10.36.0.0/16, epoch: 0}}`)
	Expect(deletes(kindRange, "10.36.0.0")(ctx, who.controller)).To(Succeed())
}

func allPolicyRules() []policyRule {
	return slices.Concat(rangePolicies, peerPolicies, declarationPolicies, agentPolicies, definitionPolicies)
}

var _ = Describe("an admission policy", func() {
	BeforeEach(func(ctx SpecContext) { setTheScene(ctx) })
	for _, r := range allPolicyRules() {
		says := r.says
		if says == "" {
			says = r.message
		}
		for _, d := range r.refuses {
			It(fmt.Sprintf("%s refuses %s (%s)", r.policy, d.what, r.message), func(ctx SpecContext) {
				err := d.do(ctx, d.who())
				Expect(err).To(MatchError(ContainSubstring("ValidatingAdmissionPolicy '" + r.policy + "'")))
				Expect(err).To(MatchError(ContainSubstring(says)))
				Expect(apierrors.IsForbidden(err)).To(BeTrue(), "%v", err)
			})
		}
		for _, d := range r.passes {
			It(fmt.Sprintf("%s lets pass %s (%s)", r.policy, d.what, r.message), func(ctx SpecContext) {
				Expect(d.do(ctx, d.who())).To(Succeed())
			})
		}
	}
})

// The API server checks the policies' types against the schemas.
var _ = Describe("each admission policy", func() {
	for _, p := range policies() {
		It(p.Name+" fits the schemas of what it is about", func(ctx SpecContext) {
			now := &admissionv1.ValidatingAdmissionPolicy{}
			Eventually(func(g Gomega) {
				g.Expect(who.admin.Get(ctx, client.ObjectKey{Name: p.Name}, now)).To(Succeed())
				g.Expect(now.Status.ObservedGeneration).To(Equal(now.Generation))
				g.Expect(now.Status.TypeChecking).NotTo(BeNil())
			}).WithTimeout(patience).Should(Succeed())
			Expect(now.Status.TypeChecking.ExpressionWarnings).To(BeEmpty())
		})
	}
})

// TestEveryPolicyHasCases needs no API server.
func TestEveryPolicyHasCases(t *testing.T) {
	written := map[string]bool{}
	for _, p := range policies() {
		for _, v := range p.Spec.Validations {
			written[policyRule{policy: p.Name, message: v.Message}.String()] = true
		}
	}
	if len(written) == 0 {
		t.Fatal("no policy was found in config")
	}
	for _, r := range allPolicyRules() {
		if !written[r.String()] {
			t.Errorf("these cases are about no policy: %s", r)
		}
		delete(written, r.String())
		if len(r.refuses) == 0 || len(r.passes) == 0 {
			t.Errorf("a policy's rule needs a case that it refuses and one that it lets pass: %s", r)
		}
	}
	for r := range written {
		t.Errorf("a policy's rule without cases: %s", r)
	}
}

// policies are those of config/admission and config/crd-guard.
func policies() []admissionv1.ValidatingAdmissionPolicy {
	var out []admissionv1.ValidatingAdmissionPolicy
	for _, dir := range []string{"/admission/*.yaml", "/crd-guard/*.yaml"} {
		files, err := filepath.Glob(configDir + dir)
		if err != nil {
			panic(err)
		}
		for _, f := range files {
			out = append(out, policiesIn(f)...)
		}
	}
	return out
}

func policiesIn(path string) []admissionv1.ValidatingAdmissionPolicy {
	file, err := os.Open(path)
	if err != nil {
		panic(err)
	}
	defer func() { _ = file.Close() }()
	var out []admissionv1.ValidatingAdmissionPolicy
	for decoder := yaml.NewYAMLOrJSONDecoder(file, 1<<12); ; {
		p := admissionv1.ValidatingAdmissionPolicy{}
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return out
		} else if err != nil {
			panic(fmt.Errorf("%s: %w", path, err))
		}
		if p.Kind == "ValidatingAdmissionPolicy" {
			out = append(out, p)
		}
	}
}
