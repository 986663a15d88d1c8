// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// rights is a Role, a ClusterRole or a binding of one: what this page needs of
// all of them.
type rights struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`

	Rules    []rbacv1.PolicyRule `json:"rules"`
	RoleRef  rbacv1.RoleRef      `json:"roleRef"`
	Subjects []rbacv1.Subject    `json:"subjects"`
}

func rbacPage(dir string) (string, error) {
	all, err := readRights(dir)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString("# Who may do what\n\nRights by RBAC. The admission policies (config/admission) narrow them: an agent writes what is about its own node\n" +
		"alone, and nobody but the controller changes who owns what.\n")
	for _, role := range all {
		if !strings.HasSuffix(role.Kind, "Role") {
			continue
		}
		where := "in the whole cluster"
		if role.Kind == "Role" {
			where = "in the namespace " + role.Namespace
		}
		fmt.Fprintf(&b, "\n## %s %s\n%s, %s.\n\n| resources | names | verbs |\n| --- | --- | --- |\n", role.Kind, role.Name, holders(all, role), where)
		for _, rule := range role.Rules {
			fmt.Fprintf(&b, "| %s | %s | %s |\n", cell(resources(rule)), cell(strings.Join(rule.ResourceNames, ", ")), cell(strings.Join(rule.Verbs, ", ")))
		}
	}
	return b.String(), nil
}

func resources(rule rbacv1.PolicyRule) string {
	var out []string
	for _, group := range rule.APIGroups {
		for _, resource := range rule.Resources {
			if group != "" {
				resource += "." + group
			}
			out = append(out, "`"+resource+"`")
		}
	}
	for _, url := range rule.NonResourceURLs {
		out = append(out, "`"+url+"`")
	}
	return strings.Join(out, ", ")
}

// holders are the service accounts that have a role.
func holders(all []rights, role rights) string {
	var out []string
	for _, binding := range all {
		if binding.RoleRef.Kind != role.Kind || binding.RoleRef.Name != role.Name || binding.Namespace != role.Namespace {
			continue
		}
		for _, s := range binding.Subjects {
			out = append(out, "the "+s.Kind+" "+s.Name)
		}
	}
	if len(out) == 0 {
		return "For whom you bind it to"
	}
	slices.Sort(out)
	return "For " + strings.Join(out, " and ")
}

func readRights(dir string) (all []rights, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("there are no manifests in %s", dir)
	}
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		decoder := yaml.NewYAMLOrJSONDecoder(f, 4096)
		for {
			var one rights
			err := decoder.Decode(&one)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return nil, errors.Join(fmt.Errorf("%s: %w", file, err), f.Close())
			}
			if one.APIVersion == rbacv1.SchemeGroupVersion.String() {
				all = append(all, one)
			}
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
	}
	return all, nil
}
