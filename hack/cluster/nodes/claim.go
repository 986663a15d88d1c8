// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package nodes

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
)

// claims is where running clusters of this machine hold locks, each under the
// name of its control groups: what a cluster that was killed has left can so be
// told from what is in use. The empty files stay: to delete a lock is to let
// two hold it.
const claims = "/run/selvage-cluster"

// groupPrefix begins the names of our control groups.
const groupPrefix = "selvage-cluster-"

// claimName is the cluster's name on this machine: its folder's.
func claimName(dir string) string {
	return fmt.Sprintf("%s%x", groupPrefix, sha256.Sum256([]byte(dir)))[:len(groupPrefix)+10]
}

// GroupName is the name of the control groups of the cluster in dir, below each
// hierarchy's root.
func GroupName(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	return claimName(dir), err
}

// claim takes the cluster's name for as long as the program lives.
func claim(ctx context.Context, dir string) (*flock.Flock, error) {
	if err := os.MkdirAll(claims, 0o755); err != nil {
		return nil, fmt.Errorf("claiming a name: %w", err)
	}
	lock := flock.New(filepath.Join(claims, claimName(dir)))
	// Sweep holds locks for a moment.
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if _, err := lock.TryLockContext(ctx, 20*time.Millisecond); err != nil {
		return nil, fmt.Errorf("another program runs a cluster in %s (%w)", dir, err)
	}
	return lock, nil
}

// Sweep kills and removes what clusters of programs that were killed have left
// on this machine: with the kernel's help that is control groups alone, and
// processes only if they were paused.
func Sweep(ctx context.Context) error {
	h, err := findHierarchies()
	if err != nil {
		return err
	}
	names, err := h.ours()
	if err != nil {
		return err
	}
	for name := range names {
		if err := h.sweepOne(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// Clear is Sweep, and deletes the disks and images that a killed cluster has
// left in dir. It does nothing where there have been no nodes.
func Clear(ctx context.Context, dir string) error {
	if _, err := os.Stat(filepath.Join(dir, "nodes")); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	lock, err := claim(ctx, dir)
	if err != nil {
		return err
	}
	h, err := findHierarchies()
	if err != nil {
		return errors.Join(err, lock.Unlock())
	}
	errs := []error{h.remove(ctx, claimName(dir)), os.RemoveAll(filepath.Join(dir, "images"))}
	disks, err := filepath.Glob(filepath.Join(dir, "nodes", "*", "disk"))
	for _, disk := range disks {
		errs = append(errs, os.RemoveAll(disk))
	}
	return errors.Join(append(errs, err, lock.Unlock(), Sweep(ctx))...)
}

// ours are the names of our control groups.
func (h *hierarchies) ours() (map[string]bool, error) {
	names := map[string]bool{}
	for _, point := range h.points() {
		found, err := filepath.Glob(filepath.Join(point, groupPrefix+"*"))
		if err != nil {
			return nil, err
		}
		for _, path := range found {
			names[filepath.Base(path)] = true
		}
	}
	return names, nil
}

// points are where they are mounted.
func (h *hierarchies) points() (points []string) {
	for _, one := range h.v1 {
		points = append(points, one.Group)
	}
	if h.unified != "" {
		points = append(points, h.unified)
	}
	return points
}

func (h *hierarchies) sweepOne(ctx context.Context, name string) error {
	if err := os.MkdirAll(claims, 0o755); err != nil {
		return fmt.Errorf("asking who holds %s: %w", name, err)
	}
	lock := flock.New(filepath.Join(claims, name))
	free, err := lock.TryLock()
	if err != nil {
		return fmt.Errorf("asking who holds %s: %w", name, err)
	}
	if !free {
		return nil // it lives
	}
	return errors.Join(h.remove(ctx, name), lock.Unlock())
}
