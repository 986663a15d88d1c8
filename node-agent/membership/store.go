// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
)

// Disk keeps one file. Its errors name the remedy.
type Disk interface {
	// Read is what was written last; nil: nothing ever was.
	Read() ([]byte, error)
	// Replace makes this what is kept: durably, and whole or not at all.
	Replace(data []byte) error
	// Remove makes it as if nothing had ever been written.
	Remove() error
	// Close lets somebody else have it.
	Close() error
	// String is where it is.
	String() string
}

// Store is the record, which is on disk before it counts. It is safe for
// concurrent use.
type Store struct {
	disk Disk

	mu     sync.Mutex
	record Record
	// written is what the disk has.
	written []byte
}

// OpenStore locks the state directory, which it makes if need be, and reads the
// record. The lock keeps two agents on one machine apart.
func OpenStore(dir string) (*Store, error) {
	disk, err := openDirectory(dir)
	if err != nil {
		return nil, err
	}
	s, err := NewStore(disk)
	if err != nil {
		return nil, errors.Join(err, disk.Close())
	}
	return s, nil
}

// NewStore reads the record. A machine without one has never joined; a damaged
// one is an error.
func NewStore(disk Disk) (*Store, error) {
	s := &Store{disk: disk, record: Record{}.clone()}
	data, err := disk.Read()
	if err != nil || data == nil {
		return s, err
	}
	record, err := ParseRecord(data)
	if errors.Is(err, errNewer) {
		return nil, fmt.Errorf("%s: %w. Run that version on this machine again: it goes on where it left off, and pods have "+
			"kept their network. To go back all the same, have it leave first (selvage-agent reset, by the newer version), "+
			"which cuts its pods off; the file moved away, it would be cut off as well", disk, err)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w. It is not taken for empty, since this machine may own addresses. "+
			"Restore the file from a backup; or, to give up what this machine was and join anew, move it away "+
			"(mv %s %s.damaged) and start the agent again: the peer that it was is then removed and its ranges are kept safe",
			disk, err, disk, disk)
	}
	s.record, s.written = record.clone(), data
	return s, nil
}

// Record is a copy of the record.
func (s *Store) Record() Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.record.clone()
}

// Update changes the record: on disk first, then in memory. On an error
// nothing has changed, in memory at least; what is on disk is the record of
// before or the new one, whole.
func (s *Store) Update(change func(*Record)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := s.record.clone()
	change(&next)
	if s.written != nil && next.equal(s.record) {
		return nil
	}
	data, err := next.Marshal()
	if err != nil {
		return err
	}
	if bytes.Equal(data, s.written) {
		return nil
	}
	if err := s.disk.Replace(data); err != nil {
		s.written = nil // whichever it has, it is written again
		return fmt.Errorf("writing this machine's identity: %w", err)
	}
	s.record, s.written = next, data
	return nil
}

// Wipe forgets everything: the machine has left for good.
func (s *Store) Wipe() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.disk.Remove(); err != nil {
		return fmt.Errorf("removing this machine's identity: %w", err)
	}
	s.record, s.written = Record{}.clone(), nil
	return nil
}

// Close lets go of the lock.
func (s *Store) Close() error { return s.disk.Close() }
