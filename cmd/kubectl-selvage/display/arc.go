// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package display

import (
	"fmt"
	"strings"

	"github.com/selvage-net/selvage/cmd/kubectl-selvage/atlas"
)

// ArcWords are what is to be said of an arc of a ring.
type ArcWords struct {
	// Who owns it, and Use is how much of it is in use.
	Who, Use string
	// Sign and Why tell its mark, as on a map; both are empty at rest.
	Sign, Why string
}

// Arc puts an arc into words.
func Arc(pool *atlas.Pool, a *atlas.Arc) ArcWords {
	w := ArcWords{Who: owners(pool, a), Sign: glyphs[a.Mark].Text, Why: words[a.Mark]}
	switch {
	case a.Owner == atlas.Nobody:
	case a.Piece != nil:
		w.Use = fmt.Sprintf("%d of %s in use", a.Used, plainSize(a))
	default:
		w.Use = fmt.Sprintf("%d in use, %.0f%% of what is owned there", a.Used, 100*a.Fill)
	}
	if a.Piece != nil && a.Mark.Moves() {
		w.Why = (journey{a.Mark, a.Piece.From, a.Piece.To}).sentence()
		if a.Piece.Reserved > 0 {
			w.Why += fmt.Sprintf("; pods still have %d of them", a.Piece.Reserved)
		}
	}
	return w
}

// Mark is a mark's sign, and the words that explain it.
func Mark(m atlas.Mark) (sign, means string) { return glyphs[m].Text, words[m] }

func owners(pool *atlas.Pool, a *atlas.Arc) string {
	switch {
	case a.Ranges == 1 && a.Owner >= 0:
		return pool.Owners[a.Owner].Peer
	case a.Ranges == 1:
		return "nobody"
	case len(a.Peers) == 0:
		return fmt.Sprintf("nobody (%d ranges)", a.Ranges)
	}
	names := strings.Join(a.Peers, ", ")
	if len(a.Peers) > atlas.MostNamed {
		names = strings.Join(a.Peers[:atlas.MostNamed], ", ") + " and others"
	}
	return fmt.Sprintf("%s (%d ranges)", names, a.Ranges)
}

func plainSize(a *atlas.Arc) string { return atlas.Size(a.CIDR).String() }
