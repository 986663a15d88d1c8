// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package helm

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// objects are those of a text, by kind, namespace and name.
func objects(t *testing.T, texts ...string) map[string]*unstructured.Unstructured {
	t.Helper()
	all := map[string]*unstructured.Unstructured{}
	for _, text := range strings.Split(strings.Join(texts, "\n---\n"), "\n---\n") {
		o := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(text), &o.Object); err != nil {
			t.Fatalf("%v in:\n%s", err, text)
		}
		if len(o.Object) == 0 {
			continue
		}
		name := o.GetKind() + " " + o.GetNamespace() + "/" + o.GetName()
		if all[name] != nil {
			t.Errorf("%s comes twice", name)
		}
		all[name] = o
	}
	return all
}

// helmsOwn are the labels that a chart adds by convention.
// https://helm.sh/docs/chart_best_practices/labels/
var helmsOwn = map[string]string{
	"app.kubernetes.io/name":       "selvage",
	"app.kubernetes.io/instance":   "selvage",
	"app.kubernetes.io/version":    "dev",
	"app.kubernetes.io/managed-by": "Helm",
	"helm.sh/chart":                "selvage-0.1.0",
}

// plain takes off what is Helm's own; wasNamed keeps the name, which some have
// without it.
func plain(t *testing.T, o *unstructured.Unstructured, wasNamed bool) (kept bool) {
	t.Helper()
	labels, annotations := o.GetLabels(), o.GetAnnotations()
	for key, want := range helmsOwn {
		if labels[key] != want {
			t.Errorf("%s %s: the label %s is %q, and not %q", o.GetKind(), o.GetName(), key, labels[key], want)
		}
		if key != "app.kubernetes.io/name" || !wasNamed {
			delete(labels, key)
		}
	}
	kept = annotations["helm.sh/resource-policy"] == "keep"
	delete(annotations, "helm.sh/resource-policy")
	set := func(field string, to map[string]string) {
		unstructured.RemoveNestedField(o.Object, "metadata", field)
		if len(to) > 0 {
			_ = unstructured.SetNestedStringMap(o.Object, to, "metadata", field)
		}
	}
	set("labels", labels)
	set("annotations", annotations)
	return kept
}

// The chart, with its defaults, is config/default and config/crd-guard, object
// by object, but for the namespace, which is made before a release.
func TestParity(t *testing.T) {
	want := objects(t, kustomize(t, "default"), kustomize(t, "crd-guard"))
	got := objects(t, render(t))
	delete(want, "Namespace /"+namespace)
	if g, w := slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)); !slices.Equal(g, w) {
		t.Errorf("the chart has:\n%s\nconfig has:\n%s", strings.Join(g, "\n"), strings.Join(w, "\n"))
	}
	if len(got) < 30 {
		t.Errorf("only %d objects were compared", len(got))
	}
	guard := objects(t, kustomize(t, "crd-guard"))
	compare(t, got, want, func(name string, o *unstructured.Unstructured) bool {
		return o.GetKind() == "CustomResourceDefinition" || guard[name] != nil
	})
}

// compare wants the chart's objects to be those of config; outlives says which
// of them are to be kept when the release goes.
func compare(t *testing.T, got, want map[string]*unstructured.Unstructured, outlives func(string, *unstructured.Unstructured) bool) {
	t.Helper()
	for name, o := range got {
		w := want[name]
		if w == nil {
			continue
		}
		kept := plain(t, o, w.GetLabels()["app.kubernetes.io/name"] != "")
		if kept != outlives(name, o) {
			t.Errorf("%s outlives the release: %t", name, kept)
		}
		if g, w := text(t, o), text(t, w); g != w {
			t.Errorf("%s differs. The chart has:\n%s\nconfig has:\n%s", name, g, w)
		}
	}
}

// What monitoring.enabled adds is config/monitoring, and nothing goes for it.
func TestParity_Monitoring(t *testing.T) {
	want, got := objects(t, kustomize(t, "monitoring")), objects(t, render(t, "--set", "monitoring.enabled=true"))
	for name := range objects(t, render(t)) {
		if got[name] == nil {
			t.Errorf("with monitoring there is no %s", name)
		}
		delete(got, name)
	}
	if g, w := slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)); !slices.Equal(g, w) || len(w) != 4 {
		t.Errorf("the chart has:\n%s\nconfig has:\n%s", strings.Join(g, "\n"), strings.Join(w, "\n"))
	}
	compare(t, got, want, func(string, *unstructured.Unstructured) bool { return false })
	elsewhere := objects(t, render(t, "--set", "monitoring.enabled=true", "--namespace", "network"))
	for name := range want {
		if there := strings.Replace(name, namespace, "network", 1); elsewhere[there] == nil {
			t.Errorf("in another namespace there is no %s", there)
		}
	}
}

func text(t *testing.T, o *unstructured.Unstructured) string {
	t.Helper()
	out, err := json.MarshalIndent(o.Object, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// What the kustomize examples change, the chart's values change in the same way.
func TestParity_Examples(t *testing.T) {
	for dir, values := range map[string][]string{
		"examples/one-node":        {"--set", "controller.replicas=1"},
		"examples/own-registry":    {"--set", "controller.image.repository=registry.example.com/net/selvage-controller,controller.image.tag=v1", "--set", "agent.image.repository=registry.example.com/net/selvage-agent,agent.image.tag=v1"},
		"examples/no-kube-proxy":   {"--set", "apiServer.host=api.example.com"},
		"examples/other-namespace": {"--namespace", "network"},
	} {
		t.Run(dir, func(t *testing.T) {
			want, got := objects(t, kustomize(t, dir)), objects(t, render(t, values...))
			for _, kind := range []string{"Deployment", "DaemonSet", "RoleBinding", "ClusterRoleBinding", "ServiceAccount", "ConfigMap", "Service"} {
				compared := 0
				for name, w := range want {
					if w.GetKind() != kind {
						continue
					}
					o := got[name]
					if o == nil {
						t.Errorf("the chart has no %s", name)
						continue
					}
					plain(t, o, w.GetLabels()["app.kubernetes.io/name"] != "")
					if g, w := text(t, o), text(t, w); g != w {
						t.Errorf("%s differs. The chart has:\n%s\nconfig has:\n%s", name, g, w)
					}
					compared++
				}
				if compared == 0 {
					t.Errorf("no %s was compared", kind)
				}
			}
		})
	}
}
