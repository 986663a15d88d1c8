// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package monitoring

import (
	"os"
	"strings"
	"testing"

	operator "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// strictly reads an object into the type that the operator has for its kind,
// which has to know every field.
func strictly(text string) (any, error) {
	var o unstructured.Unstructured
	if err := yaml.Unmarshal([]byte(text), &o.Object); err != nil {
		return nil, err
	}
	into := map[string]any{
		operator.ServiceMonitorsKind: &operator.ServiceMonitor{}, operator.PodMonitorsKind: &operator.PodMonitor{},
		operator.PrometheusRuleKind: &operator.PrometheusRule{},
	}[o.GetKind()]
	return into, yaml.UnmarshalStrict([]byte(text), into)
}

// port is a container's or Service's port by the name that a monitor asks for.
func port(t *testing.T, file, name string) bool {
	t.Helper()
	text, err := os.ReadFile(source + file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(text), "{name: "+name+", ")
}

// TestOperator: what is made for the Prometheus operator is as its own types
// have it, and asks for ports and labels that there are.
func TestOperator(t *testing.T) {
	kinds := 0
	for _, file := range []string{"monitors.yaml", "rules.yaml"} {
		text, err := os.ReadFile(manifests + file)
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range strings.Split(string(text), "\n---\n") {
			o, err := strictly(one)
			if err != nil {
				t.Errorf("%s: %v", file, err)
				continue
			}
			kinds++
			switch o := o.(type) {
			case *operator.ServiceMonitor:
				if !port(t, "config/manager/metrics_service.yaml", o.Spec.Endpoints[0].Port) {
					t.Errorf("the Service has no port %s", o.Spec.Endpoints[0].Port)
				}
				selects(t, o.Spec.Selector.MatchLabels, "config/manager/metrics_service.yaml")
			case *operator.PodMonitor:
				endpoint := o.Spec.PodMetricsEndpoints[0]
				if endpoint.Port == nil || !port(t, "config/node-agent/node-agent.yaml", *endpoint.Port) {
					t.Errorf("the agents have no port %v", endpoint.Port)
				}
				if len(endpoint.RelabelConfigs) != 1 || endpoint.RelabelConfigs[0].TargetLabel != "node" {
					t.Errorf("nothing says which node an agent's metrics are of: %+v", endpoint.RelabelConfigs)
				}
				selects(t, o.Spec.Selector.MatchLabels, "config/node-agent/node-agent.yaml")
			}
		}
	}
	if kinds != 3 {
		t.Errorf("%d objects", kinds)
	}
	if _, err := strictly("kind: PodMonitor\nspec: {podMetricsEndpoint: []}"); err == nil {
		t.Error("a field that there is not is taken")
	}
}

// selects looks for each label, as the manifests write them.
func selects(t *testing.T, labels map[string]string, file string) {
	t.Helper()
	text, err := os.ReadFile(source + file)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range labels {
		if !strings.Contains(string(text), name+": "+value) {
			t.Errorf("%s has no label %s: %s", file, name, value)
		}
	}
	if len(labels) == 0 {
		t.Errorf("it selects everything")
	}
}
