// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/gofrs/flock"
)

const (
	recordFile = "identity"
	lockFile   = "lock"
)

// Store is the state directory: the record, and the lock that keeps two agents
// on one machine apart. It is safe for concurrent use.
type Store struct {
	dir  string
	lock *flock.Flock

	mu     sync.Mutex
	record Record
	// written is what the file holds.
	written []byte
}

// ErrRunning says that another agent holds the state directory.
var ErrRunning = errors.New("another selvage-agent runs on this machine")

// OpenStore locks the directory, which it makes if need be, and reads the
// record. A machine without one has never joined; a damaged one is an error.
func OpenStore(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the state directory: %w", diskError(dir, err))
	}
	lock := flock.New(filepath.Join(dir, lockFile), flock.SetPermissions(0o600))
	locked, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("locking the state directory: %w", diskError(dir, err))
	}
	if !locked {
		return nil, fmt.Errorf("%w: it holds %s; stop it first, or give this one a --state-dir of its own", ErrRunning, lock.Path())
	}
	s := &Store{dir: dir, lock: lock}
	if err := s.load(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return s, nil
}

func (s *Store) path() string { return filepath.Join(s.dir, recordFile) }

func (s *Store) load() error {
	file, err := os.Open(s.path())
	if errors.Is(err, os.ErrNotExist) {
		s.record = Record{}.clone()
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading this machine's identity: %w", err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxRecordBytes+1))
	if err != nil {
		return fmt.Errorf("reading this machine's identity: %w", err)
	}
	record, err := ParseRecord(data)
	if err != nil {
		return fmt.Errorf("%s: %w. It is not taken for empty, since this machine may own addresses. "+
			"Restore the file from a backup; or, to give up what this machine was and join anew, move it away "+
			"(mv %s %s.damaged) and start the agent again: the peer that it was is then removed and its ranges are kept safe",
			s.path(), err, s.path(), s.path())
	}
	s.record, s.written = record.clone(), data
	return nil
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
	data, err := next.Marshal()
	if err != nil {
		return err
	}
	if bytes.Equal(data, s.written) {
		return nil
	}
	if err := writeDurably(s.dir, recordFile, data); err != nil {
		return fmt.Errorf("writing this machine's identity: %w", diskError(s.dir, err))
	}
	s.record, s.written = next, data
	return nil
}

// Wipe forgets everything: the machine has left for good.
func (s *Store) Wipe() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := os.Remove(s.path()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("removing this machine's identity: %w", diskError(s.dir, err))
	}
	s.record, s.written = Record{}.clone(), nil
	return syncDir(s.dir)
}

// Close lets go of the lock.
func (s *Store) Close() error { return s.lock.Close() }

// writeDurably replaces a file: written, fsynced, renamed, and the directory
// fsynced. A failure leaves the former file as it is.
func writeDurably(dir, name string, data []byte) (err error) {
	file, err := os.CreateTemp(dir, "."+name+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(file.Name())
		}
	}()
	_, err = file.Write(data)
	if err == nil {
		err = file.Sync()
	}
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	if err := os.Rename(file.Name(), filepath.Join(dir, name)); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// diskError names the remedy.
func diskError(dir string, err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w: free some space (df -h %s); nothing is lost, and nothing new is taken on until then", err, dir)
	case errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%w: make it writable (mount -o remount,rw), or name another place with --state-dir; nothing is lost", err)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%w: selvage-agent runs as root, and %s must be its own", err, dir)
	}
	return err
}
