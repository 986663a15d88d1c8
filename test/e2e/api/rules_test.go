// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package api

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/yaml"
)

// rule is a validation rule of a schema: the kind, the place in its schema and
// the message find it, and every one of them is in one of the tables.
type rule struct {
	kind, at, message string
	// says is in the refusal, where that is not the message.
	says    string
	refuses []attempt
	passes  []attempt
}

func (r rule) String() string { return fmt.Sprintf("%s %s: %s", r.kind, r.at, r.message) }

// attempt is one object's story up to the write that is refused or let pass.
type attempt struct {
	what string
	// name and object are what is created; by default the kind's in defaults.
	name, object string
	// given are merge patches that pass.
	given []string
	// try is the merge patch in question; if empty, it is the creation.
	try string
}

// defaults are objects that every rule lets pass.
var defaults = map[string]attempt{
	kindRange:   {name: "10.40.0.0", object: `spec: {pool: default, cidr: 10.40.0.0/13, epoch: 0}`},
	kindPeer:    {name: "host3", object: `{metadata: {finalizers: [net.selvage.dev/ownership]}, spec: {nodeName: host3, nodeUID: node-3, instanceID: instance-3}}`},
	kindPool:    {name: "default", object: `spec: {cidr: 10.32.0.0/12}`},
	kindRemoval: {name: "host3", object: `spec: {heir: host1}`},
}

func (a attempt) in(kind string) attempt {
	if a.name == "" {
		a.name = defaults[kind].name
	}
	if a.object == "" {
		a.object = defaults[kind].object
	}
	return a
}

// run brings the object to where the attempt begins, and returns what the API
// server says to the write in question.
func (a attempt) run(ctx context.Context, kind string) error {
	GinkgoHelper()
	DeferCleanup(func(ctx SpecContext) { remove(ctx, who.admin, kind, a.name) })
	err := who.admin.Create(ctx, glass(parse(kind, a.name, a.object)))
	if a.try == "" {
		return err
	}
	Expect(err).NotTo(HaveOccurred())
	for _, p := range a.given {
		Expect(patch(ctx, who.admin, kind, a.name, p)).To(Succeed(), p)
	}
	return patch(ctx, who.admin, kind, a.name, a.try)
}

func allRules() []rule {
	return slices.Concat(poolRules, removalRules, rangeRules, rangeSealRules, peerRules, peerPhaseRules)
}

var _ = Describe("a rule in the schemas", func() {
	for _, r := range allRules() {
		says := r.says
		if says == "" {
			says = r.message
		}
		for _, a := range r.refuses {
			a = a.in(r.kind)
			It(fmt.Sprintf("%s %s refuses %s: %s", r.kind, r.at, a.what, r.message), func(ctx SpecContext) {
				err := a.run(ctx, r.kind)
				Expect(err).To(MatchError(ContainSubstring(says)))
				Expect(apierrors.IsInvalid(err)).To(BeTrue(), "%v", err)
			})
		}
		for _, a := range r.passes {
			a = a.in(r.kind)
			It(fmt.Sprintf("%s %s lets pass %s (%s)", r.kind, r.at, a.what, r.message), func(ctx SpecContext) {
				Expect(a.run(ctx, r.kind)).To(Succeed())
			})
		}
	}
})

// TestEveryRuleHasCases needs no API server: a rule that is in a schema and in
// no table, or the other way round, or has no case of either kind, fails.
func TestEveryRuleHasCases(t *testing.T) {
	written := map[string]bool{}
	for _, d := range definitions(t) {
		schema := d.Spec.Versions[0].Schema.OpenAPIV3Schema
		walk(schema, "", func(at string, s *apiextensionsv1.JSONSchemaProps) {
			for _, v := range s.XValidations {
				written[rule{kind: d.Spec.Names.Kind, at: at, message: v.Message}.String()] = true
			}
		})
	}
	if len(written) == 0 {
		t.Fatal("no rule was found in config/crd/bases")
	}
	for _, r := range allRules() {
		if !written[r.String()] {
			t.Errorf("these cases are about no rule of the schemas: %s", r)
		}
		delete(written, r.String())
		if len(r.refuses) == 0 || len(r.passes) == 0 {
			t.Errorf("a rule needs a case that it refuses and one that it lets pass: %s", r)
		}
	}
	for r := range written {
		t.Errorf("a rule without cases: %s", r)
	}
}

func definitions(t testing.TB) []apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	files, err := filepath.Glob(configDir + "/crd/bases/*.yaml")
	if err != nil || len(files) != len(kinds) {
		t.Fatalf("want %d definitions, found %v (%v)", len(kinds), files, err)
	}
	var out []apiextensionsv1.CustomResourceDefinition
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		d := apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.UnmarshalStrict(raw, &d); err != nil {
			t.Fatal(err)
		}
		out = append(out, d)
	}
	return out
}

// walk visits every node of a schema with its path, such as .spec.reserved[].
func walk(s *apiextensionsv1.JSONSchemaProps, at string, visit func(string, *apiextensionsv1.JSONSchemaProps)) {
	visit(at, s)
	for name := range s.Properties {
		child := s.Properties[name]
		walk(&child, at+"."+name, visit)
	}
	if s.Items != nil && s.Items.Schema != nil {
		walk(s.Items.Schema, at+"[]", visit)
	}
}
