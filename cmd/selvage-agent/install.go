// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"
)

// plainConflist is the configuration installed if no other is named.
const plainConflist = `{
  "cniVersion": "1.1.0",
  "cniVersions": ["0.4.0", "1.0.0", "1.1.0"],
  "name": "selvage",
  "plugins": [
    {"type": "selvage", "capabilities": {"ips": true}},
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
`

const conflistName = "10-selvage.conflist"

// install puts the plugin and its configuration where the runtime looks, once
// this node can serve them. The configuration comes last: the runtime takes it
// as the sign that the network is there.
func (o *options) install(ctx context.Context, health func() error, log *slog.Logger) error {
	if o.binDir == "" && o.confDir == "" {
		return nil
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for health() != nil {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
	if o.binDir != "" {
		plugin, err := os.ReadFile(o.plugin)
		if err != nil {
			return fmt.Errorf("the CNI plugin to install (--cni-plugin): %w", err)
		}
		if err := replace(filepath.Join(o.binDir, "selvage"), plugin, 0o755); err != nil {
			return err
		}
	}
	if o.confDir == "" {
		return nil
	}
	conflist := []byte(plainConflist)
	if o.configuration != "" {
		var err error
		if conflist, err = os.ReadFile(o.configuration); err != nil {
			return fmt.Errorf("the CNI configuration to install (--cni-conflist): %w", err)
		}
	}
	if err := replace(filepath.Join(o.confDir, conflistName), conflist, 0o644); err != nil {
		return err
	}
	log.Info("installed the CNI plugin", "plugin", o.binDir, "configuration", o.confDir)
	return nil
}

// replace writes a file that appears whole under its name. The runtime must
// not take the unfinished one for a configuration: its name ends in .new.
func replace(path string, data []byte, mode os.FileMode) error {
	fresh := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
	err := os.WriteFile(fresh, data, mode)
	if err == nil {
		err = os.Chmod(fresh, mode)
	}
	if err == nil {
		err = os.Rename(fresh, path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("installing %s: %w", path, err), remove(fresh))
	}
	return nil
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
