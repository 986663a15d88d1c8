// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package helm

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// changes are another value for each one that there is, and what it renders to.
var changes = map[string]struct{ value, want string }{
	"leaseDuration":                {"30s", "--lease-duration=30s"},
	"apiServer.host":               {"api.example.com", "value: \"api.example.com\""},
	"apiServer.port":               {"7443", "value: \"7443\""},
	"imagePullSecrets":             {`["registry"]`, "- name: registry"},
	"controller.image.repository":  {"example.com/c", `image: "example.com/c:dev"`},
	"controller.image.tag":         {"v9", `image: "localhost/selvage-controller:v9"`},
	"controller.image.pullPolicy":  {"Always", "imagePullPolicy: Always"},
	"controller.replicas":          {"5", "replicas: 5"},
	"controller.logLevel":          {"debug", "--log-level=debug"},
	"controller.gracePeriod":       {"1h30m", "--grace-period=1h30m"},
	"controller.maxRemovals":       {"0", "--max-removals=0"},
	"controller.extraArgs":         {`["--kube-api-qps=7"]`, `- "--kube-api-qps=7"`},
	"controller.resources":         {`{"limits":{"memory":"1Gi"}}`, "memory: 1Gi"},
	"controller.priorityClassName": {"mine", "priorityClassName: mine"},
	"controller.nodeSelector":      {`{"rack":"seven"}`, "rack: seven"},
	"controller.tolerations":       {`[{"key":"mine"}]`, "- key: mine"},
	"controller.affinity":          {`{"nodeAffinity":{}}`, "nodeAffinity: {}"},
	"agent.image.repository":       {"example.com/a", `image: "example.com/a:dev"`},
	"agent.image.tag":              {"v9", `image: "localhost/selvage-agent:v9"`},
	"agent.image.pullPolicy":       {"Never", "imagePullPolicy: Never"},
	"agent.criSocket":              {"/run/crio/crio.sock", "hostPath: {path: /run/crio, type: DirectoryOrCreate}"},
	"agent.cniBinDir":              {"/usr/libexec/cni", "hostPath: {path: /usr/libexec/cni, type: DirectoryOrCreate}"},
	"agent.cniConfDir":             {"/etc/other", "hostPath: {path: /etc/other, type: DirectoryOrCreate}"},
	"agent.encapsulation":          {"direct", "--encapsulation=direct"},
	"agent.headroom":               {"262145", "--headroom=262145"},
	"agent.mtu":                    {"9000", "--mtu=9000"},
	"agent.vxlanPort":              {"8472", "--vxlan-port=8472"},
	"agent.extraArgs":              {`["--verbose"]`, `- "--verbose"`},
	"agent.resources":              {`{"limits":{"cpu":"2"}}`, `cpu: "2"`},
	"agent.priorityClassName":      {"mine", "priorityClassName: mine"},
	"agent.nodeSelector":           {`{"rack":"seven"}`, "rack: seven"},
	"agent.tolerations":            {`[{"key":"mine"}]`, "- key: mine"},
	"agent.maxUnavailable":         {"3", "maxUnavailable: 3"},
	"agent.leave":                  {"true", "command: [/selvage-agent, reset, --cut-off-pods, --stay]"},
	"monitoring.enabled":           {"true", "kind: PrometheusRule"},
	"monitoring.monitors":          {"true", "kind: PodMonitor"},
	"monitoring.rules":             {"true", "alert: SelvageControllerDown"},
	"monitoring.labels":            {`{"release":"mine"}`, "release: mine"},
	"monitoring.dashboard":         {"true", "name: selvage-dashboard"},
	"monitoring.dashboardLabels":   {`{"board":"mine"}`, "board: mine"},
}

// Each value does what it says: what it renders to is not there without it.
func TestValues(t *testing.T) {
	defaults := render(t)
	for name, c := range changes {
		set := []string{"--set-json", name + "=" + c.value}
		if !json.Valid([]byte(c.value)) {
			set = []string{"--set-string", name + "=" + c.value}
		}
		if name == "apiServer.port" {
			set = append(set, "--set", "apiServer.host=x")
		}
		if strings.HasPrefix(name, "monitoring.") && name != "monitoring.enabled" {
			set = append(set, "--set", "monitoring.enabled=true")
			if c.value == "true" {
				without := render(t, append(slices.Clone(set), "--set", name+"=false")...)
				if strings.Contains(without, c.want) {
					t.Errorf("%s=false: %q is there all the same", name, c.want)
				}
			}
		}
		if strings.Contains(defaults, c.want) {
			t.Errorf("%s: %q is there in any case", name, c.want)
		}
		if out := render(t, set...); !strings.Contains(out, c.want) {
			t.Errorf("%s=%s does not render to %q", name, c.value, c.want)
		}
	}
}

// leaves are the values' names; those that a person sets as a whole are one.
func leaves(prefix string, values map[string]any, found map[string]bool) {
	for name, value := range values {
		name = prefix + name
		inner, isMap := value.(map[string]any)
		if whole := changes[name].value != ""; isMap && !whole {
			leaves(name+".", inner, found)
			continue
		}
		found[name] = true
	}
}

// No value is without a test, or without a word on what it is for.
func TestValues_All(t *testing.T) {
	text, err := os.ReadFile(chart + "/values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var values map[string]any
	if err := yaml.Unmarshal(text, &values); err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	leaves("", values, found)
	for name := range found {
		if _, tested := changes[name]; !tested {
			t.Errorf("%s has no test", name)
		}
	}
	for name := range changes {
		if !found[name] {
			t.Errorf("%s is no value", name)
		}
	}
	var schema map[string]any
	if text, err = os.ReadFile(chart + "/values.schema.json"); err == nil {
		err = json.Unmarshal(text, &schema)
	}
	if err != nil {
		t.Fatal(err)
	}
	for name := range found {
		at := schema
		for _, part := range strings.Split(name, ".") {
			properties, _ := at["properties"].(map[string]any)
			at, _ = properties[part].(map[string]any)
			if at["description"] == nil || at["description"] == "" {
				t.Errorf("the schema does not describe %s of %s", part, name)
			}
		}
	}
}

// What cannot be meant is refused before it is applied, by name.
func TestValues_Refused(t *testing.T) {
	for set, want := range map[string]string{
		"agent.headrom=1":              "additional properties 'headrom' not allowed",
		"agent.headroom=many":          "at '/agent/headroom'",
		"agent.mtu=5":                  "at '/agent/mtu'",
		"agent.criSocket=crio.sock":    "at '/agent/criSocket'",
		"agent.encapsulation=ipip":     "at '/agent/encapsulation'",
		"agent.maxUnavailable=some":    "at '/agent/maxUnavailable'",
		"monitoring.labels=x":          "at '/monitoring/labels'",
		"monitoring.enabled=perhaps":   "at '/monitoring/enabled'",
		"agent.leave=perhaps":          "at '/agent/leave'",
		"controller.replicas=0":        "at '/controller/replicas'",
		"controller.maxRemovals=20":    "at '/controller/maxRemovals'",
		"controller.gracePeriod=a day": "at '/controller/gracePeriod'",
		"leaseDuration=60":             "at '/leaseDuration'",
		"pool.cidr=10.0.0.0/8":         "additional properties 'pool' not allowed",
	} {
		if _, err := helm(t.Context(), t, "template", "selvage", chart, "--set", set); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", set, err)
		}
	}
}

// The chart is as a linter wants it, and explains its values.
func TestLint(t *testing.T) {
	if out, err := helm(t.Context(), t, "show", "values", chart); err != nil || !strings.Contains(out, "# How long a node may allocate without the API server") {
		t.Errorf("helm show values: %v: %s", err, out)
	}
	if out, err := helm(t.Context(), t, "lint", "--strict", chart); err != nil {
		t.Error(err)
	} else if strings.Contains(out, "WARNING") {
		t.Error(out)
	}
}
