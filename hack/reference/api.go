// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

func apiPage(dir string) (string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil || len(files) == 0 {
		return "", fmt.Errorf("there are no definitions in %s", dir)
	}
	var b strings.Builder
	b.WriteString("# API\n\n`kubectl explain KIND.FIELD` says the same. Who may write what is said in [DESIGN.md](../../DESIGN.md).\n")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		var crd apiextensionsv1.CustomResourceDefinition
		if err := yaml.UnmarshalStrict(text, &crd); err != nil {
			return "", fmt.Errorf("%s: %w", file, err)
		}
		for _, v := range crd.Spec.Versions {
			describe(&b, &crd, v)
		}
	}
	return b.String(), nil
}

func describe(b *strings.Builder, crd *apiextensionsv1.CustomResourceDefinition, v apiextensionsv1.CustomResourceDefinitionVersion) {
	root := v.Schema.OpenAPIV3Schema
	fmt.Fprintf(b, "\n## %s\n`%s/%s`, %s. Short names: %s.\n\n%s\n", crd.Spec.Names.Kind, crd.Spec.Group, v.Name,
		strings.ToLower(string(crd.Spec.Scope)), strings.Join(crd.Spec.Names.ShortNames, ", "), strings.Join(strings.Fields(root.Description), " "))
	rules(b, "The object", root)
	for _, part := range []string{"spec", "status"} {
		schema, ok := root.Properties[part]
		if !ok {
			continue
		}
		fmt.Fprintf(b, "\n### %s.%s\n| field | type | |\n| --- | --- | --- |\n", crd.Spec.Names.Kind, part)
		fields(b, part, &schema)
	}
}

// fields writes a row for each field under a path, depth first.
func fields(b *strings.Builder, path string, schema *apiextensionsv1.JSONSchemaProps) {
	for _, name := range slices.Sorted(maps.Keys(schema.Properties)) {
		field := schema.Properties[name]
		here := path + "." + name
		if field.Type == "array" && field.Items != nil && field.Items.Schema != nil {
			here += "[]"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", here, typeOf(&field), cell(about(&field, slices.Contains(schema.Required, name))))
		// Conditions are the same everywhere.
		if name == "conditions" {
			continue
		}
		if field.Items != nil && field.Items.Schema != nil {
			field = *field.Items.Schema
		}
		fields(b, here, &field)
	}
}

func typeOf(schema *apiextensionsv1.JSONSchemaProps) string {
	switch {
	case schema.Type == "array" && schema.Items != nil && schema.Items.Schema != nil:
		return "list of " + typeOf(schema.Items.Schema)
	case schema.Type == "object" && schema.AdditionalProperties != nil && schema.AdditionalProperties.Schema != nil:
		return "map of " + typeOf(schema.AdditionalProperties.Schema)
	case schema.Format != "":
		return schema.Type + " (" + schema.Format + ")"
	}
	return schema.Type
}

// about is all that is said of a field: required, default, values, rules.
func about(schema *apiextensionsv1.JSONSchemaProps, required bool) string {
	var said []string
	if required {
		said = append(said, "**Required.**")
	}
	said = append(said, schema.Description)
	if schema.Default != nil {
		said = append(said, "Default: `"+string(schema.Default.Raw)+"`.")
	}
	if len(schema.Enum) > 0 {
		var values []string
		for _, value := range schema.Enum {
			values = append(values, "`"+strings.Trim(string(value.Raw), `"`)+"`")
		}
		said = append(said, "One of "+strings.Join(values, ", ")+".")
	}
	for _, rule := range schema.XValidations {
		said = append(said, "Rule: "+strings.TrimSuffix(rule.Message, ".")+".")
	}
	return strings.Join(said, " ")
}

func rules(b *strings.Builder, of string, schema *apiextensionsv1.JSONSchemaProps) {
	for _, rule := range schema.XValidations {
		fmt.Fprintf(b, "\n- %s: %s\n", of, cell(rule.Message))
	}
}
