// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package checkup

import (
	"fmt"
	"strings"

	"github.com/selvage-net/selvage/node-agent/diagnosis"
)

// SameEverywhere is the name of Compare's check.
const SameEverywhere = "same-everywhere"

// Compare looks for what has to be the same on every node, in their reports.
func Compare(nodes []diagnosis.Report) []diagnosis.Finding {
	var found []diagnosis.Finding
	for _, trait := range []struct {
		name   string
		of     func(*diagnosis.Traits) string
		remedy string
	}{
		{"encapsulation", func(t *diagnosis.Traits) string { return t.Encapsulation }, "give all agents the same --encapsulation"},
		{"VXLAN port", func(t *diagnosis.Traits) string { return fmt.Sprint(t.Port) }, "give all agents the same --vxlan-port: on another port nobody hears them"},
		{"VXLAN identifier", func(t *diagnosis.Traits) string { return fmt.Sprint(t.VNI) }, "give all agents the same --vxlan-id: with another nobody hears them"},
		{"pods' MTU", func(t *diagnosis.Traits) string { return mtu(t.MTU) }, "give all agents the --mtu of the smallest: large packets from a larger one are lost"},
	} {
		by := map[string][]string{}
		for _, r := range nodes {
			if r.Traits == nil {
				continue
			}
			if v := trait.of(r.Traits); v != "" {
				by[v] = append(by[v], strings.TrimPrefix(r.Subject, "node/"))
			}
		}
		if len(by) < 2 {
			continue
		}
		var words []string
		for _, v := range sorted(by) {
			words = append(words, fmt.Sprintf("%s on %s", v, some(by[v])))
		}
		found = append(found, diagnosis.Finding{
			Check: SameEverywhere, Severity: diagnosis.Error, Object: "cluster", Message: "the " + trait.name + " differs: " + strings.Join(words, "; "), Remedy: trait.remedy,
		})
	}
	return found
}

func mtu(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

func some(names []string) string {
	const few = 5
	if len(names) <= few {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:few], ", "), len(names)-few)
}
