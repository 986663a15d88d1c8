// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package checkup

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"sync"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"

	"github.com/selvage-net/selvage/config"
	"github.com/selvage-net/selvage/node-agent/diagnosis"
)

// oldestMinor is the oldest Kubernetes that docs/install.md asks for: 1.34.
const oldestMinor = 34

func server(c *Cluster) []diagnosis.Finding {
	minor, err := strconv.Atoi(strings.TrimRight(c.Server.Minor, "+"))
	if err != nil || c.Server.Major != "1" || minor >= oldestMinor {
		return nil
	}
	return []diagnosis.Finding{{
		Severity: diagnosis.Warning, Object: "cluster", Message: fmt.Sprintf("the API server is of version %s; Selvage is tested from 1.%d on", c.Server.GitVersion, oldestMinor),
		Remedy: "upgrade Kubernetes: an older one may not have what the schemas and policies rely on",
	}}
}

// document returns what reads the manifests of one kind that this program was
// built with.
func document[T any](kind string) func() map[string]T {
	return func() map[string]T {
		all := map[string]T{}
		err := fs.WalkDir(config.Guards, ".", func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			text, err := config.Guards.ReadFile(path)
			if err != nil {
				return err
			}
			for part := range strings.SplitSeq("\n"+string(text), "\n---\n") {
				if err := take(all, kind, part); err != nil {
					return fmt.Errorf("%s: %w", path, err)
				}
			}
			return nil
		})
		if err != nil {
			panic(err) // cannot happen: a test reads them all
		}
		return all
	}
}

// take reads one manifest, if it is of that kind.
func take[T any](all map[string]T, kind, text string) error {
	if !strings.Contains(text, "\nkind: "+kind+"\n") && !strings.HasPrefix(text, "kind: "+kind+"\n") {
		return nil
	}
	var head struct {
		Metadata struct{ Name string }
	}
	if err := yaml.Unmarshal([]byte(text), &head); err != nil {
		return err
	}
	var object T
	if err := yaml.Unmarshal([]byte(text), &object); err != nil {
		return err
	}
	all[head.Metadata.Name] = object
	return nil
}

// What this program was built with, read when it is first asked for. Nobody
// changes it.
var (
	ourKinds    = sync.OnceValue(document[apiextensionsv1.CustomResourceDefinition]("CustomResourceDefinition"))
	ourPolicies = sync.OnceValue(document[admissionv1.ValidatingAdmissionPolicy]("ValidatingAdmissionPolicy"))
	ourSchemas  = sync.OnceValue(func() map[string]string {
		all := map[string]string{}
		for name, d := range ourKinds() {
			all[name] = encode(schemas(d))
		}
		return all
	})
)

// PolicyNames are those of the admission policies, and of their bindings.
func PolicyNames() []string {
	return sorted(ourPolicies())
}

const apply = "kubectl apply -k config/default, of the version that the controller and the agents have"

func kinds(c *Cluster) []diagnosis.Finding {
	var found []diagnosis.Finding
	for _, name := range sorted(ourKinds()) {
		object := "customresourcedefinition/" + name
		at := slices.IndexFunc(c.Kinds, func(d apiextensionsv1.CustomResourceDefinition) bool { return d.Name == name })
		if at < 0 {
			found = append(found, diagnosis.Finding{
				Severity: diagnosis.Error, Object: object, Message: "it is not installed",
				Remedy: apply + "; if it was deleted by mistake, docs/operate.md first, \"The AddressRange CRD was deleted\"",
			})
			continue
		}
		switch has := c.Kinds[at]; {
		case !established(has):
			found = append(found, diagnosis.Finding{Severity: diagnosis.Error, Object: object, Message: "it is not established: the API server does not serve it", Remedy: "kubectl describe it: its conditions say why"})
		case encode(schemas(has)) != ourSchemas()[name]:
			found = append(found, diagnosis.Finding{
				Severity: diagnosis.Warning, Object: object, Message: "its schema is another than that of this program (" + c.Client + "): fields or rules differ",
				Remedy: apply + "; or take the kubectl-selvage of that version, and look again",
			})
		}
	}
	return found
}

func established(d apiextensionsv1.CustomResourceDefinition) bool {
	return slices.ContainsFunc(d.Status.Conditions, func(c apiextensionsv1.CustomResourceDefinitionCondition) bool {
		return c.Type == apiextensionsv1.Established && c.Status == apiextensionsv1.ConditionTrue
	})
}

// schemas are the served versions' schemas by name.
func schemas(d apiextensionsv1.CustomResourceDefinition) map[string]any {
	all := map[string]any{}
	for _, v := range d.Spec.Versions {
		if v.Served && v.Schema != nil {
			all[v.Name] = v.Schema.OpenAPIV3Schema
		}
	}
	return all
}

func policies(c *Cluster) []diagnosis.Finding {
	var found []diagnosis.Finding
	for _, name := range sorted(ourPolicies()) {
		object, severity, remedy := "validatingadmissionpolicy/"+name, diagnosis.Error, apply
		if strings.HasPrefix(name, "selvage-") && strings.HasSuffix(name, "-crd-stays") {
			severity, remedy = diagnosis.Warning, "kubectl apply -k config/crd-guard: without it a CRD, and with it the record of ownership, can be deleted by mistake"
		}
		at := slices.IndexFunc(c.Policies, func(p admissionv1.ValidatingAdmissionPolicy) bool { return p.Name == name })
		bound := slices.ContainsFunc(c.Bindings, func(b admissionv1.ValidatingAdmissionPolicyBinding) bool {
			return b.Spec.PolicyName == name && slices.Contains(b.Spec.ValidationActions, admissionv1.Deny) && b.Spec.MatchResources == nil
		})
		switch {
		case at < 0:
			found = append(found, diagnosis.Finding{Severity: severity, Object: object, Message: "it is not installed: what it refuses is let through", Remedy: remedy})
		case !bound:
			found = append(found, diagnosis.Finding{Severity: severity, Object: object, Message: "no binding has it deny, everywhere: what it refuses is let through", Remedy: remedy})
		case rules(c.Policies[at]) != rules(ourPolicies()[name]):
			found = append(found, diagnosis.Finding{
				Severity: diagnosis.Warning, Object: object, Message: "its rules are others than those of this program (" + c.Client + ")",
				Remedy: remedy + "; or take the kubectl-selvage of that version, and look again",
			})
		}
	}
	return found
}

// rules are what a policy decides by, as text: without what the API server
// fills in, and without messages.
func rules(p admissionv1.ValidatingAdmissionPolicy) string {
	var lines []string
	if p.Spec.FailurePolicy == nil || *p.Spec.FailurePolicy == admissionv1.Fail { // the default
		lines = append(lines, "fails")
	}
	if m := p.Spec.MatchConstraints; m != nil {
		for _, r := range m.ResourceRules {
			lines = append(lines, encode([]any{r.APIGroups, r.APIVersions, r.Resources, r.Operations, r.ResourceNames}))
		}
		for _, r := range m.ExcludeResourceRules {
			lines = append(lines, "not "+encode([]any{r.APIGroups, r.APIVersions, r.Resources, r.Operations, r.ResourceNames}))
		}
		lines = append(lines, selector(m.NamespaceSelector), selector(m.ObjectSelector))
	}
	for _, m := range p.Spec.MatchConditions {
		lines = append(lines, m.Name+" "+m.Expression)
	}
	for _, v := range p.Spec.Variables {
		lines = append(lines, v.Name+" "+v.Expression)
	}
	for _, v := range p.Spec.Validations {
		lines = append(lines, v.Expression)
	}
	return strings.Join(lines, "\n")
}

func encode(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err) // cannot happen: it came from JSON
	}
	return string(raw)
}
