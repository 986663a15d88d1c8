// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package display

import (
	"fmt"
	"testing"

	"github.com/selvage-net/selvage/node-agent/diagnosis"
)

func TestDiagnosis(t *testing.T) {
	d := Diagnosis{Unreached: map[string]string{"host4": "no agent's pod is there"}, Reports: []diagnosis.Report{
		{Subject: "cluster", Results: []diagnosis.Result{
			{Check: "kinds", Verdict: diagnosis.OK, Looked: "the CRDs"},
			{Check: "policies", Verdict: diagnosis.NotChecked, Looked: "forbidden"},
			{Check: "peers", Verdict: diagnosis.Found, Looked: "the peers"},
		}},
		{Subject: "node/host3", Results: []diagnosis.Result{{Check: "mtu", Verdict: diagnosis.Found, Looked: "the MTUs"}}, Findings: []diagnosis.Finding{
			{Check: "mtu", Severity: diagnosis.Warning, Object: "node/host3", Message: "2 pods have a larger MTU than the tunnel (1350): default/a, default/b", Remedy: "start them anew"},
		}},
	}}
	for i := range 9 {
		d.Reports[0].Findings = append(d.Reports[0].Findings, diagnosis.Finding{
			Check: "peers", Severity: diagnosis.Error, Object: fmt.Sprintf("peer/host%d", i), Message: "it has no lease: it gives no pod an address", Remedy: fmt.Sprintf("kubectl selvage doctor host%d", i),
		})
	}
	golden(t, "doctor", func(p *Page) error { return p.Diagnosis(d, false) })
	golden(t, "doctor-wide", func(p *Page) error { return p.Diagnosis(d, true) })
	golden(t, "doctor-well", func(p *Page) error {
		return p.Diagnosis(Diagnosis{OK: true, Reports: []diagnosis.Report{{Subject: "cluster", Results: d.Reports[0].Results[:1]}}}, false)
	})
}
