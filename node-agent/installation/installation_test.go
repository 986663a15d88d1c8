// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package installation

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// node is one with CNI folders, and an installation for it.
type node struct {
	*Installation
	t     *testing.T
	ready atomic.Bool
	asked atomic.Int64
}

func newNode(t *testing.T) *node {
	t.Helper()
	dir := t.TempDir()
	n := &node{t: t}
	n.Installation = &Installation{
		BinDir: filepath.Join(dir, "bin"), ConfDir: filepath.Join(dir, "net.d"), Plugin: filepath.Join(dir, "plugin"),
		Log: slog.New(slog.DiscardHandler),
		Ready: func() error {
			n.asked.Add(1)
			if n.ready.Load() {
				return nil
			}
			return errors.New("not yet")
		},
	}
	n.must(errors.Join(os.Mkdir(n.BinDir, 0o755), os.Mkdir(n.ConfDir, 0o755)))
	n.must(os.WriteFile(n.Plugin, []byte("the plugin"), 0o600))
	return n
}

func (n *node) must(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

// speaks gives the node a plugin of a chain that says which versions it speaks.
func (n *node) speaks(name, says string) {
	n.t.Helper()
	n.must(os.WriteFile(filepath.Join(n.BinDir, name), []byte("#!/bin/sh\n"+says+"\n"), 0o755))
}

// installed is the configuration; nil: there is none.
func (n *node) installed() *conflist {
	n.t.Helper()
	data, err := os.ReadFile(filepath.Join(n.ConfDir, conflistName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	n.must(err)
	list := &conflist{}
	n.must(json.Unmarshal(data, list))
	return list
}

type conflist struct {
	Version  string   `json:"cniVersion"`
	Versions []string `json:"cniVersions"`
	Plugins  []struct {
		Type         string          `json:"type"`
		Capabilities map[string]bool `json:"capabilities"`
	} `json:"plugins"`
}

func (c *conflist) chain() (names []string) {
	for _, p := range c.Plugins {
		names = append(names, p.Type)
	}
	return names
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-deadline:
			t.Fatalf("waited in vain for %s", what)
		case <-tick.C:
		}
	}
}

const (
	newer = `echo '{"cniVersion":"1.1.0","supportedVersions":["0.4.0","1.0.0","1.1.0"]}'`
	older = `echo '{"cniVersion":"1.0.0","supportedVersions":["0.3.1","0.4.0","1.0.0"]}'`
)

// What is chained is what the node has, at versions that all of it speaks.
func TestChain(t *testing.T) {
	for name, c := range map[string]struct {
		has      map[string]string
		chain    []string
		versions []string
	}{
		"nothing":               {nil, []string{"selvage"}, []string{"1.0.0", "1.1.0"}},
		"portmap":               {map[string]string{"portmap": newer}, []string{"selvage", "portmap"}, []string{"1.0.0", "1.1.0"}},
		"both":                  {map[string]string{"bandwidth": newer, "portmap": newer}, []string{"selvage", "portmap", "bandwidth"}, []string{"1.0.0", "1.1.0"}},
		"an older portmap":      {map[string]string{"bandwidth": newer, "portmap": older}, []string{"selvage", "portmap", "bandwidth"}, []string{"1.0.0"}},
		"one that does not run": {map[string]string{"portmap": "exit 1"}, []string{"selvage", "portmap"}, []string{"1.0.0"}},
		"one that says nothing": {map[string]string{"portmap": "true"}, []string{"selvage", "portmap"}, []string{"1.0.0"}},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			for name, says := range c.has {
				n.speaks(name, says)
			}
			if _, err := n.Install(); err != nil {
				t.Fatal(err)
			}
			got := n.installed()
			if !slices.Equal(got.chain(), c.chain) || !slices.Equal(got.Versions, c.versions) || got.Version != "1.0.0" {
				t.Errorf("installed %v at %s and %v, want %v at %v", got.chain(), got.Version, got.Versions, c.chain, c.versions)
			}
			if !got.Plugins[0].Capabilities["ips"] {
				t.Error("a plugin's own settings were lost")
			}
		})
	}
}

// A file that is no program is no plugin.
func TestChain_NotExecutable(t *testing.T) {
	n := newNode(t)
	n.must(os.WriteFile(filepath.Join(n.BinDir, "portmap"), []byte("text"), 0o600))
	n.must(os.Mkdir(filepath.Join(n.BinDir, "bandwidth"), 0o755))
	if _, err := n.Install(); err != nil {
		t.Fatal(err)
	}
	if got := n.installed().chain(); !slices.Equal(got, []string{"selvage"}) {
		t.Errorf("chained %v", got)
	}
}

func TestChain_Refuses(t *testing.T) {
	for name, text := range map[string]string{"no JSON": "{", "no plugins": `{"name":"selvage"}`, "an empty list": `{"plugins":[]}`} {
		n := newNode(t)
		n.Conflist = filepath.Join(t.TempDir(), "conflist")
		n.must(os.WriteFile(n.Conflist, []byte(text), 0o600))
		if _, err := n.Install(); err == nil || n.installed() != nil {
			t.Errorf("%s: error %v, installed %v", name, err, n.installed())
		}
	}
}

// The second time changes nothing; modes are those that a runtime can read,
// whatever the umask.
func TestInstall(t *testing.T) {
	n := newNode(t)
	changed, err := n.Install()
	if err != nil || len(changed) != 2 || filepath.Base(changed[0]) != "selvage" {
		t.Fatalf("changed %v: %v; the plugin comes first", changed, err)
	}
	for path, mode := range map[string]fs.FileMode{filepath.Join(n.BinDir, "selvage"): 0o755, filepath.Join(n.ConfDir, conflistName): 0o644} {
		if info, err := os.Stat(path); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v %v", path, info.Mode(), err)
		}
	}
	if changed, err := n.Install(); err != nil || len(changed) != 0 {
		t.Errorf("the second time changed %v: %v", changed, err)
	}
	n.must(os.Chmod(filepath.Join(n.ConfDir, conflistName), 0o600))
	if changed, err := n.Install(); err != nil || len(changed) != 1 {
		t.Errorf("an unreadable configuration: changed %v: %v", changed, err)
	}
	// Nothing but what is to be there: an unfinished file would be in the way.
	for _, dir := range []string{n.BinDir, n.ConfDir} {
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
			t.Errorf("%s holds %v: %v", dir, entries, err)
		}
	}
}

// Not before the node can serve; then again whenever somebody takes the files
// away, changes them, or adds a plugin that is to be chained.
func TestKeep(t *testing.T) {
	n := newNode(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- n.Keep(ctx) }()
	plugin, conf := filepath.Join(n.BinDir, "selvage"), filepath.Join(n.ConfDir, conflistName)
	eventually(t, "the node to be asked again whether it is ready", func() bool { return n.asked.Load() > 1 })
	if n.installed() != nil {
		t.Error("installed before the node was ready")
	}
	n.ready.Store(true)
	eventually(t, "the first installation", func() bool { return n.installed() != nil })
	if _, err := os.Stat(plugin); err != nil {
		t.Errorf("the configuration was there before the plugin: %v", err)
	}
	n.must(os.Remove(conf))
	eventually(t, "the configuration to be put back", func() bool { return n.installed() != nil })
	n.must(os.WriteFile(plugin, []byte("another"), 0o755))
	eventually(t, "the plugin to be put back", func() bool {
		data, err := os.ReadFile(plugin)
		return err == nil && string(data) == "the plugin"
	})
	n.speaks("portmap", newer)
	eventually(t, "portmap to be chained", func() bool { return len(n.installed().Plugins) == 2 })
	cancel()
	if err := <-ended; err != nil || n.installed() == nil {
		t.Errorf("at its end: %v; the files stay", err)
	}
}

// Removed is removed: nothing puts the files back, and what a crash left
// unfinished goes, too. Other networks' files stay.
func TestRemove(t *testing.T) {
	n := newNode(t)
	if _, err := n.Install(); err != nil {
		t.Fatal(err)
	}
	n.speaks("portmap", newer)
	n.must(os.WriteFile(filepath.Join(n.ConfDir, "."+conflistName+"123456"), nil, 0o600))
	n.must(os.WriteFile(filepath.Join(n.ConfDir, "20-other.conflist"), nil, 0o600))
	for range 2 {
		n.must(n.Remove())
		if changed, err := n.Install(); err != nil || len(changed) > 0 {
			t.Errorf("it was installed again: %v %v", changed, err)
		}
	}
	for dir, want := range map[string]string{n.BinDir: "portmap", n.ConfDir: "20-other.conflist"} {
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != 1 || entries[0].Name() != want {
			t.Errorf("%s holds %v: %v", dir, entries, err)
		}
	}
}
