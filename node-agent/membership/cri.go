// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"context"
	"fmt"
	"os"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// wellKnown are where container runtimes serve the CRI.
var wellKnown = []string{
	"/run/containerd/containerd.sock", "/run/crio/crio.sock", "/run/k3s/containerd/containerd.sock",
	"/run/k0s/containerd.sock", "/var/snap/microk8s/common/run/containerd.sock", "/run/cri-dockerd.sock",
}

// CRI stops sandboxes through a container runtime. It connects when it is first
// asked to.
type CRI struct {
	path string

	mu   sync.Mutex
	conn *grpc.ClientConn
}

// NewCRI returns a CRI at that socket; empty: at the first well-known one that
// exists when it is needed.
func NewCRI(path string) *CRI { return &CRI{path: path} }

// Stop ends a sandbox. One that does not exist has ended.
func (c *CRI) Stop(ctx context.Context, id string) error {
	conn, err := c.connect()
	if err != nil {
		return err
	}
	if _, err := cri.NewRuntimeServiceClient(conn).StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: id}); err != nil {
		return fmt.Errorf("stopping sandbox %s: %w", id, err)
	}
	return nil
}

func (c *CRI) connect() (*grpc.ClientConn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil {
		return c.conn, nil
	}
	path := c.path
	for i := 0; path == "" && i < len(wellKnown); i++ {
		if info, err := os.Stat(wellKnown[i]); err == nil && info.Mode()&os.ModeSocket != 0 {
			path = wellKnown[i]
		}
	}
	if path == "" {
		return nil, fmt.Errorf("no container runtime answers at any of %v: name its socket with --cri-socket", wellKnown)
	}
	conn, err := grpc.NewClient("unix://"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, fmt.Errorf("connecting to the container runtime at %s: %w", path, err)
	}
	c.conn = conn
	return conn, nil
}
