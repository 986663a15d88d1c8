// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/selvage-net/selvage/node-agent/diagnosis"
)

// cni reads the configurations as runtimes do: by name, those that end so
// (https://github.com/containerd/go-cni, namedOpts and defaults).
func (c *collector) cni() error {
	if c.from.ConfDir == "" || c.from.BinDir == "" {
		return errors.New("where the runtime looks for CNI configurations and plugins was not said (--cni-conf-dir, --cni-bin-dir)")
	}
	c.CNI = diagnosis.Folder{Path: c.from.ConfDir, Bin: c.from.BinDir}
	entries, err := os.ReadDir(c.from.ConfDir) // sorted by name
	if err != nil {
		return fmt.Errorf("reading the CNI configurations: %w", err)
	}
	for _, e := range entries {
		if slices.Contains([]string{".conf", ".conflist", ".json"}, filepath.Ext(e.Name())) && !e.IsDir() {
			c.CNI.Files = append(c.CNI.Files, configuration(c.from.ConfDir, e.Name()))
		}
	}
	plugin, err := os.Stat(filepath.Join(c.from.BinDir, "selvage"))
	c.CNI.Plugin = err == nil && plugin.Mode().IsRegular() && plugin.Mode()&0o111 != 0
	return nil
}

func configuration(dir, name string) diagnosis.Configuration {
	found := diagnosis.Configuration{Name: name}
	text, err := os.ReadFile(filepath.Join(dir, name))
	var content struct {
		Name, Type string
		Plugins    []struct{ Type string }
	}
	if err == nil {
		err = json.Unmarshal(text, &content)
	}
	if err != nil {
		found.Broken = err.Error()
		return found
	}
	found.Network = content.Name
	if content.Type != "" {
		found.Plugins = []string{content.Type}
	}
	for _, p := range content.Plugins {
		found.Plugins = append(found.Plugins, p.Type)
	}
	return found
}

const (
	// runtimeTime is for the container runtime to answer.
	runtimeTime = 5 * time.Second
	// secondLook is how much later a sandbox must still be unknown: one that
	// is just being made has its interface before the runtime lists it.
	secondLook = 5 * time.Second
)

// sandboxes asks the runtime which it knows, twice if any is missing.
func (c *collector) sandboxes(ctx context.Context) error {
	if c.from.CRISocket == "" {
		return errors.New("which container runtime to ask was not said (--cri-socket)")
	}
	conn, err := grpc.NewClient("unix://"+strings.TrimPrefix(c.from.CRISocket, "unix://"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	client := cri.NewRuntimeServiceClient(conn)
	for look := 0; ; look++ {
		known, err := listed(ctx, client)
		if err != nil {
			return fmt.Errorf("asking the container runtime at %s: %w", c.from.CRISocket, err)
		}
		c.Sandboxes = known
		if look == 1 || !c.missing() {
			return nil
		}
		wait := time.NewTimer(secondLook)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-wait.C:
		}
	}
}

func (c *collector) missing() bool {
	return slices.ContainsFunc(c.Attachments, func(a diagnosis.Attachment) bool { return !a.Dying && !c.Sandboxes[a.Sandbox] })
}

func listed(ctx context.Context, client cri.RuntimeServiceClient) (map[string]bool, error) {
	ctx, cancel := context.WithTimeout(ctx, runtimeTime)
	defer cancel()
	list, err := client.ListPodSandbox(ctx, &cri.ListPodSandboxRequest{})
	if err != nil {
		return nil, err
	}
	known := map[string]bool{}
	for _, s := range list.GetItems() {
		known[s.GetId()] = true
	}
	return known, nil
}
