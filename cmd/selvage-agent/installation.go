// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"log/slog"

	"github.com/selvage-net/selvage/node-agent/installation"
)

// servesPods is nil once a pod that the runtime starts here gets an address.
func (p *parts) servesPods() error {
	if err := p.agent.Health(); err != nil {
		return err
	}
	if len(p.ledger.Pools()) == 0 {
		return errors.New("this node owns no range yet")
	}
	return nil
}

func (o *options) installation(ready func() error, log *slog.Logger) *installation.Installation {
	return &installation.Installation{
		BinDir: o.binDir, ConfDir: o.confDir, Plugin: o.plugin, Conflist: o.configuration, Ready: ready, Log: log,
	}
}
