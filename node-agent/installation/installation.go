// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

// Package installation puts the CNI plugin and its configuration where the
// container runtime looks for them, keeps them there, and takes them away.
//
// The runtime takes the configuration as the sign that the pod network is
// there (https://www.cni.dev/docs/spec/, section 1), so it comes last, goes
// first, and is never seen unfinished.
package installation

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/google/renameio/v2"
)

const (
	// conflistName sorts before what other networks usually install: runtimes
	// take the first.
	conflistName = "10-selvage.conflist"
	pluginName   = "selvage"

	// readyPeriod is how often a node that cannot serve yet is asked again,
	// and the least time between two looks.
	readyPeriod = time.Second
	// lookPeriod is how often is looked without being told: a folder may have
	// been replaced, and its watch lost.
	lookPeriod = 30 * time.Second
)

// Installation is the plugin and its configuration on one node.
type Installation struct {
	// BinDir and ConfDir are where the runtime looks; empty: not to be
	// installed.
	BinDir, ConfDir string
	// Plugin is the program to install.
	Plugin string
	// Conflist is the configuration to install: all the plugins to be chained,
	// of which those are taken that the node has. Empty: a plain one.
	Conflist string
	// Ready is nil when pods can be served.
	Ready func() error
	Log   *slog.Logger

	mu      sync.Mutex
	removed bool
	absent  []string
	said    string
}

// Keep installs as soon as the node can serve pods, and again whenever the
// files have been changed or removed, until ctx ends. The files then stay: an
// agent that is away is not a network that is away.
func (i *Installation) Keep(ctx context.Context) error {
	if i.BinDir == "" && i.ConfDir == "" {
		return nil
	}
	watch, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watching the CNI folders: %w", err)
	}
	defer watch.Close()
	for {
		i.watch(watch)
		drain(watch.Events) // what has happened so far is about to be seen
		i.settle(ctx)
		if !pause(ctx, readyPeriod) { // also what keeps two who disagree from running hot
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-watch.Events:
		case err := <-watch.Errors:
			i.Log.Debug("watching the CNI folders", "error", err)
		case <-time.After(lookPeriod):
		}
	}
}

// watch adds the folders, those that exist; one that is watched already stays.
func (i *Installation) watch(watch *fsnotify.Watcher) {
	for _, dir := range []string{i.BinDir, i.ConfDir} {
		if dir == "" {
			continue
		}
		if err := watch.Add(dir); err != nil {
			i.Log.Debug("watching a CNI folder", "folder", dir, "error", err)
		}
	}
}

// settle waits until the node can serve, and installs.
func (i *Installation) settle(ctx context.Context) {
	for i.Ready() != nil {
		if !pause(ctx, readyPeriod) {
			return
		}
	}
	changed, err := i.Install()
	text := fmt.Sprint(err)
	switch {
	case err != nil && text != i.said:
		i.Log.Error("the CNI plugin is not installed: no pod can start here", "error", err)
	case err == nil && len(changed) > 0:
		i.Log.Info("installed the CNI plugin", "files", changed, "without", i.absent)
	}
	i.said = text
}

func drain(events <-chan fsnotify.Event) {
	for {
		select {
		case <-events:
		default:
			return
		}
	}
}

func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// Install writes what differs from what is wanted, and names the files. The
// plugin comes first: the configuration says that it is there.
func (i *Installation) Install() (changed []string, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.removed {
		return nil, nil
	}
	if i.BinDir != "" {
		program, err := os.ReadFile(i.Plugin)
		if err != nil {
			return changed, fmt.Errorf("the CNI plugin to install (--cni-plugin): %w", err)
		}
		if changed, err = replace(changed, filepath.Join(i.BinDir, pluginName), program, 0o755); err != nil {
			return changed, err
		}
	}
	if i.ConfDir == "" {
		return changed, nil
	}
	conflist, absent, err := i.chain()
	if err != nil {
		return changed, err
	}
	i.absent = absent
	return replace(changed, filepath.Join(i.ConfDir, conflistName), conflist, 0o644)
}

// replace makes a file hold these bytes, unless it does. It appears whole: the
// unfinished one has another name, which no runtime takes for a configuration.
func replace(changed []string, path string, data []byte, mode os.FileMode) ([]string, error) {
	if holds(path, data, mode) {
		return changed, nil
	}
	dir := filepath.Dir(path)
	err := renameio.WriteFile(path, data, mode, renameio.WithStaticPermissions(mode), renameio.WithTempDir(dir))
	if err != nil {
		return changed, fmt.Errorf("installing %s: %w", path, err)
	}
	return append(changed, path), nil
}

func holds(path string, data []byte, mode os.FileMode) bool {
	info, err := os.Lstat(path)
	if err != nil || info.Mode() != mode || info.Size() != int64(len(data)) {
		return false
	}
	now, err := os.ReadFile(path)
	return err == nil && bytes.Equal(now, data)
}

// Remove takes the configuration away, then the plugin, then what a crash left
// of either, and installs no more.
func (i *Installation) Remove() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.removed = true
	var errs []error
	for _, file := range []struct{ dir, name string }{{i.ConfDir, conflistName}, {i.BinDir, pluginName}} {
		if file.dir == "" {
			continue
		}
		if err := os.Remove(filepath.Join(file.dir, file.name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("removing the CNI plugin: %w", err))
		}
		errs = append(errs, removeUnfinished(file.dir, file.name))
	}
	return errors.Join(errs...)
}

// removeUnfinished removes what renameio calls .NAME and a number.
func removeUnfinished(dir, name string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	errs := []error{err}
	for _, entry := range entries {
		number, found := strings.CutPrefix(entry.Name(), "."+name)
		if !found || number == "" || slices.ContainsFunc([]byte(number), func(c byte) bool { return c < '0' || c > '9' }) {
			continue
		}
		errs = append(errs, os.Remove(filepath.Join(dir, entry.Name())))
	}
	return errors.Join(errs...)
}
