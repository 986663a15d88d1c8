// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/gofrs/flock"
)

const (
	recordFile = "identity"
	lockFile   = "lock"
)

// ErrRunning says that another agent holds the state directory.
var ErrRunning = errors.New("another selvage-agent runs on this machine")

// directory is the Disk of a machine: a file in a directory that is locked.
type directory struct {
	dir  string
	lock *flock.Flock
}

func openDirectory(dir string) (*directory, error) {
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
	return &directory{dir: dir, lock: lock}, nil
}

func (d *directory) String() string { return filepath.Join(d.dir, recordFile) }

func (d *directory) Close() error { return d.lock.Close() }

func (d *directory) Read() ([]byte, error) {
	file, err := os.Open(d.String())
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading this machine's identity: %w", err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxRecordBytes+1))
	if err != nil {
		return nil, fmt.Errorf("reading this machine's identity: %w", err)
	}
	return data, nil
}

func (d *directory) Replace(data []byte) error {
	if err := writeDurably(d.dir, recordFile, data); err != nil {
		return diskError(d.dir, err)
	}
	return nil
}

func (d *directory) Remove() error {
	if err := os.Remove(d.String()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return diskError(d.dir, err)
	}
	return syncDir(d.dir)
}

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
