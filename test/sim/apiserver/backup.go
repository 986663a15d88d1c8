// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"maps"
	"slices"
)

// Backup is all that was there at one moment.
type Backup struct{ data data }

// Backup takes one.
func (s *Server) Backup() *Backup { return &Backup{s.data.clone()} }

// Restore goes back to a backup: objects, uids to come and, unless bump says
// how far they jump, resourceVersions to come. Watches have to list anew.
func (s *Server) Restore(b *Backup, bump int64) {
	minted := s.data.minted
	s.data = b.data.clone()
	s.data.version += bump
	// uids are random: no two are alike, whatever is restored.
	s.data.minted = minted
}

func (d data) clone() data {
	out := d
	out.tables = make(map[*Kind]*table, len(d.tables))
	for k, t := range d.tables {
		out.tables[k] = &table{objects: maps.Clone(t.objects), keys: slices.Clone(t.keys), unwritten: maps.Clone(t.unwritten)}
	}
	return out
}
