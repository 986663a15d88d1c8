// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package monitoring

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// sections are those of docs/alerts.md, by heading.
func sections(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(source + "docs/alerts.md")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, part := range strings.Split(string(text), "\n## ")[1:] {
		heading, body, _ := strings.Cut(part, "\n")
		if out[heading] != "" {
			t.Errorf("%s is there twice", heading)
		}
		out[heading] = body
	}
	return out
}

// reasons are what the first column of a section's table has.
var reasons = regexp.MustCompile(`(?m)^\| ([A-Z]\w+…?(?:, [A-Z]\w+…?)*) \|`)

// TestDocs: each alert has its section, which its runbook_url leads to, which
// begins with how bad it is, and which says what to type; and each section its
// alert.
func TestDocs(t *testing.T) {
	pages, all := sections(t), alerts(t)
	for name, r := range all {
		body, there := pages[name]
		if !there {
			t.Errorf("docs/alerts.md has no section %s", name)
			continue
		}
		if !strings.HasPrefix(strings.ToLower(body), r.Labels["severity"]+".") {
			t.Errorf("%s is %s, and docs/alerts.md says otherwise", name, r.Labels["severity"])
		}
		if !strings.Contains(body, "\n$ kubectl ") && !strings.Contains(body, "`kubectl ") && !strings.Contains(body, "](#") {
			t.Errorf("docs/alerts.md does not say what to do about %s", name)
		}
		if !strings.HasSuffix(r.Annotations["runbook_url"], "/docs/alerts.md#"+strings.ToLower(name)) {
			t.Errorf("%s leads to %s", name, r.Annotations["runbook_url"])
		}
	}
	for name := range pages {
		if all[name].Alert == "" {
			t.Errorf("docs/alerts.md speaks of %s, which is no alert", name)
		}
	}
	sources := code(t)
	for name, body := range pages {
		for _, row := range reasons.FindAllStringSubmatch(body, -1) {
			for _, reason := range strings.Split(row[1], ", ") {
				if reason, whole := strings.CutSuffix(reason, "…"); !strings.Contains(sources, `"`+reason+map[bool]string{false: `"`}[whole]) {
					t.Errorf("docs/alerts.md, %s: nothing says %s", name, reason)
				}
			}
		}
	}
}
