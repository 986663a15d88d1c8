// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package skew

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

// TestKinds: an object that the old kinds took, the new ones take as well, and
// no field of it is lost. Rules in CEL are not compared: old controllers and
// agents write under the new ones in TestWalk.
func TestKinds(t *testing.T) {
	before, now := kinds(t, old), kinds(t, current)
	if len(before) < 4 {
		t.Fatalf("only %d kinds", len(before))
	}
	for _, name := range slices.Sorted(maps.Keys(before)) {
		for _, problem := range broken(before[name], now[name]) {
			t.Errorf("%s: %s", name, problem)
		}
	}
}

// kinds are the definitions of a version, by name.
func kinds(t *testing.T, v *version) map[string]*apiextensions.CustomResourceDefinition {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(v.source, "config", "crd", "bases", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]*apiextensions.CustomResourceDefinition{}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		crd := &apiextensions.CustomResourceDefinition{}
		if err := yaml.UnmarshalStrict(data, crd); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		all[crd.Name] = crd
	}
	return all
}

// broken is what the new definition does not keep of the old one.
func broken(before, now *apiextensions.CustomResourceDefinition) []string {
	if now == nil {
		return []string{"the kind is gone"}
	}
	var problems []string
	versions := map[string]apiextensions.CustomResourceDefinitionVersion{}
	for _, v := range now.Spec.Versions {
		versions[v.Name] = v
	}
	if before.Spec.Scope != now.Spec.Scope || before.Spec.Names.Plural != now.Spec.Names.Plural {
		problems = append(problems, "scope or name changed")
	}
	for _, v := range before.Spec.Versions {
		next, there := versions[v.Name]
		switch {
		case !there && v.Storage:
			problems = append(problems, v.Name+" is gone, in which objects may be stored")
		case v.Served && !next.Served:
			problems = append(problems, v.Name+" is not served any more")
		case there:
			problems = append(problems, narrower(v.Name, v.Schema.OpenAPIV3Schema, next.Schema.OpenAPIV3Schema)...)
		}
	}
	return problems
}

// narrower is what a schema does not take that the other one took.
func narrower(path string, before, now *apiextensions.JSONSchemaProps) (problems []string) {
	say := func(format string, args ...any) { problems = append(problems, path+": "+fmt.Sprintf(format, args...)) }
	if before.Type != now.Type || before.Format != now.Format {
		say("%s %s has become %s %s", before.Type, before.Format, now.Type, now.Format)
	}
	if before.Pattern != now.Pattern && now.Pattern != "" {
		say("another pattern: %s", now.Pattern)
	}
	for _, field := range now.Required {
		if _, known := before.Properties[field]; known && !slices.Contains(before.Required, field) {
			say("%s has become required", field)
		} else if !known {
			say("%s is new and required", field)
		}
	}
	for _, value := range before.Enum {
		if len(now.Enum) > 0 && !slices.ContainsFunc(now.Enum, func(j apiextensions.JSON) bool { return string(j.Raw) == string(value.Raw) }) {
			say("%s is no value any more", value.Raw)
		}
	}
	if len(before.Enum) == 0 && len(now.Enum) > 0 {
		say("any value was taken")
	}
	for name, pair := range map[string][2]*int64{"longest": {before.MaxLength, now.MaxLength}, "most items": {before.MaxItems, now.MaxItems}} {
		if pair[1] != nil && (pair[0] == nil || *pair[1] < *pair[0]) {
			say("%s: now %d", name, *pair[1])
		}
	}
	for name, pair := range map[string][2]*int64{"shortest": {before.MinLength, now.MinLength}, "fewest items": {before.MinItems, now.MinItems}} {
		if pair[1] != nil && (pair[0] == nil || *pair[1] > *pair[0]) {
			say("%s: now %d", name, *pair[1])
		}
	}
	if now.Minimum != nil && (before.Minimum == nil || *now.Minimum > *before.Minimum) {
		say("least: now %g", *now.Minimum)
	}
	if now.Maximum != nil && (before.Maximum == nil || *now.Maximum < *before.Maximum) {
		say("most: now %g", *now.Maximum)
	}
	for _, name := range slices.Sorted(maps.Keys(before.Properties)) {
		next, there := now.Properties[name]
		if !there {
			say("%s is gone", name)
			continue
		}
		former := before.Properties[name]
		problems = append(problems, narrower(path+"."+name, &former, &next)...)
	}
	if before.Items != nil && now.Items != nil && before.Items.Schema != nil && now.Items.Schema != nil {
		problems = append(problems, narrower(path+"[]", before.Items.Schema, now.Items.Schema)...)
	}
	return problems
}

// TestNarrower: each way to narrow a kind is noticed.
func TestNarrower(t *testing.T) {
	least, longest := 1.0, int64(10)
	whole := func() *apiextensions.CustomResourceDefinition {
		return &apiextensions.CustomResourceDefinition{Spec: apiextensions.CustomResourceDefinitionSpec{
			Scope: "Cluster", Versions: []apiextensions.CustomResourceDefinitionVersion{{
				Name: "v1", Served: true, Storage: true, Schema: &apiextensions.CustomResourceValidation{
					OpenAPIV3Schema: &apiextensions.JSONSchemaProps{Type: "object", Properties: map[string]apiextensions.JSONSchemaProps{
						"a": {Type: "string", Enum: []apiextensions.JSON{{Raw: []byte(`"x"`)}, {Raw: []byte(`"y"`)}}},
						"b": {Type: "array", Items: &apiextensions.JSONSchemaPropsOrArray{Schema: &apiextensions.JSONSchemaProps{Type: "integer", Minimum: &least}}},
						"c": {Type: "string", MaxLength: &longest},
					}},
				},
			}},
		}}
	}
	if problems := broken(whole(), whole()); len(problems) != 0 {
		t.Errorf("the same: %q", problems)
	}
	change := func(do func(map[string]apiextensions.JSONSchemaProps, *apiextensions.JSONSchemaProps)) *apiextensions.CustomResourceDefinition {
		crd := whole()
		do(crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties, crd.Spec.Versions[0].Schema.OpenAPIV3Schema)
		return crd
	}
	type fields = map[string]apiextensions.JSONSchemaProps
	more, shorter := 2.0, int64(9)
	notServed, notThere, namespaced := whole(), whole(), whole()
	notServed.Spec.Versions[0].Served = false
	notThere.Spec.Versions[0].Name = "v2"
	namespaced.Spec.Scope = "Namespaced"
	for want, crd := range map[string]*apiextensions.CustomResourceDefinition{
		"the kind is gone": nil, "v1 is not served": notServed, "v1 is gone, in which": notThere, "scope": namespaced,
		"c is gone":              change(func(f fields, _ *apiextensions.JSONSchemaProps) { delete(f, "c") }),
		"c has become required":  change(func(_ fields, s *apiextensions.JSONSchemaProps) { s.Required = []string{"c"} }),
		"d is new and required":  change(func(_ fields, s *apiextensions.JSONSchemaProps) { s.Required = []string{"d"} }),
		`"y" is no value`:        change(func(f fields, _ *apiextensions.JSONSchemaProps) { a := f["a"]; a.Enum = a.Enum[:1]; f["a"] = a }),
		"string  has become":     change(func(f fields, _ *apiextensions.JSONSchemaProps) { c := f["c"]; c.Type = "integer"; f["c"] = c }),
		"longest: now 9":         change(func(f fields, _ *apiextensions.JSONSchemaProps) { c := f["c"]; c.MaxLength = &shorter; f["c"] = c }),
		"another pattern":        change(func(f fields, _ *apiextensions.JSONSchemaProps) { c := f["c"]; c.Pattern = "^a$"; f["c"] = c }),
		"v1.b[]: least: now 2":   change(func(f fields, _ *apiextensions.JSONSchemaProps) { f["b"].Items.Schema.Minimum = &more }),
		"v1.b[]: most: now 2":    change(func(f fields, _ *apiextensions.JSONSchemaProps) { f["b"].Items.Schema.Maximum = &more }),
		"v1.c: any value was ta": change(func(f fields, _ *apiextensions.JSONSchemaProps) { c := f["c"]; c.Enum = f["a"].Enum; f["c"] = c }),
	} {
		if problems := broken(whole(), crd); len(problems) != 1 || !strings.Contains(problems[0], want) {
			t.Errorf("want %q: %q", want, problems)
		}
	}
}

var flag = regexp.MustCompile(`(?m)^\s+(?:-\w, )?(--[a-z][a-z0-9-]*)`)

// TestFlags: the flags that an installation's manifests or a person's scripts
// may have are still there.
func TestFlags(t *testing.T) {
	before, now := flags(t, old), flags(t, current)
	if len(before) < 10 {
		t.Fatalf("only %d commands", len(before))
	}
	for _, command := range slices.Sorted(maps.Keys(before)) {
		for f := range before[command] {
			if !now[command][f] {
				t.Errorf("%s has no %s any more", command, f)
			}
		}
	}
}

// flags are those of each command, as its page of reference has them.
func flags(t *testing.T, v *version) map[string]map[string]bool {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(v.source, "docs", "reference", "flags.md"))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]map[string]bool{}
	for _, section := range strings.Split(string(page), "\n#")[1:] {
		command, text, _ := strings.Cut(strings.TrimLeft(section, "# "), "\n")
		all[command] = map[string]bool{}
		for _, match := range flag.FindAllStringSubmatch(text, -1) {
			all[command][match[1]] = true
		}
	}
	return all
}
