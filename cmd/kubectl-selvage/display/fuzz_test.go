// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package display

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode"

	"github.com/selvage-net/selvage/cmd/kubectl-selvage/inventory"
)

// FuzzOverview: whatever the objects say, showing them does not panic, and
// nothing in them drives the terminal.
func FuzzOverview(f *testing.F) {
	for _, s := range []*inventory.State{story(), burning("Fencing", "waiting\x1b[2J\r", true), {}} {
		seed, err := json.Marshal(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s := &inventory.State{}
		if json.Unmarshal(data, s) != nil {
			return
		}
		var got bytes.Buffer
		p := &Page{Writer: &got, Now: now}
		for _, wide := range []bool{false, true} {
			if err := errors.Join(p.Overview(Summarise(s, now)), p.Peers(s, s.Peers, wide), p.IPAM(Shares(s), wide)); err != nil {
				t.Error(err)
			}
		}
		for i := range s.Peers {
			r := s.Removal(s.Peers[i].Name)
			if r == nil {
				continue
			}
			for _, sentence := range []string{Outcome(r), Already(r, now), Progress(r), Cutting(r), Hint(r)} {
				if err := p.Line(Plain, "%s", sentence); err != nil {
					t.Error(err)
				}
			}
		}
		if at := strings.IndexFunc(got.String(), func(r rune) bool { return r != '\n' && unicode.IsControl(r) }); at >= 0 {
			t.Errorf("a control character at %d of %q", at, got.String())
		}
	})
}
