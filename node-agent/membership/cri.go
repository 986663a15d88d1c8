// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// wellKnown are where container runtimes serve the CRI.
var wellKnown = []string{
	"/run/containerd/containerd.sock", "/run/crio/crio.sock", "/run/k3s/containerd/containerd.sock",
	"/run/k0s/containerd.sock", "/var/snap/microk8s/common/run/containerd.sock", "/run/cri-dockerd.sock",
}

// CRI stops sandboxes through a container runtime. It connects when it is first
// asked to. It is safe for concurrent use.
type CRI struct {
	path string

	mu   sync.Mutex
	conn *grpc.ClientConn
	at   string // the socket that conn is for
}

// NewCRI returns a CRI at that socket, a path or, as the kubelet names it,
// unix:///path; empty: at the first well-known one that exists when it is
// needed.
func NewCRI(path string) *CRI { return &CRI{path: strings.TrimPrefix(path, "unix://")} }

// Close ends the connection, if there is one. It is made anew when it is needed.
func (c *CRI) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == nil {
		return nil
	}
	err := c.conn.Close()
	c.conn = nil
	return err
}

// errHostNetwork: the sandbox is nothing that this agent ever gave an address.
var errHostNetwork = errors.New("it is on the host's network: not stopped")

// Stop ends a sandbox. One that does not exist has ended. One that is on the
// host's network is left alone, whatever an interface says.
func (c *CRI) Stop(ctx context.Context, id string) error {
	runtime, socket, err := c.connect()
	if err != nil {
		return err
	}
	now, err := runtime.PodSandboxStatus(ctx, &cri.PodSandboxStatusRequest{PodSandboxId: id})
	if status.Code(err) == codes.NotFound {
		return nil
	}
	if err != nil {
		return explainCRI(err, socket)
	}
	if now.GetStatus().GetLinux().GetNamespaces().GetOptions().GetNetwork() == cri.NamespaceMode_NODE {
		return fmt.Errorf("sandbox %s: %w", id, errHostNetwork)
	}
	_, err = runtime.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: id})
	if err != nil && status.Code(err) != codes.NotFound {
		return explainCRI(err, socket)
	}
	return nil
}

// Pod is the Pod of a sandbox, as the runtime was told.
func (c *CRI) Pod(ctx context.Context, id string) (corev1.ObjectReference, error) {
	runtime, socket, err := c.connect()
	if err != nil {
		return corev1.ObjectReference{}, err
	}
	now, err := runtime.PodSandboxStatus(ctx, &cri.PodSandboxStatusRequest{PodSandboxId: id})
	if err != nil {
		return corev1.ObjectReference{}, explainCRI(err, socket)
	}
	m := now.GetStatus().GetMetadata()
	return corev1.ObjectReference{Namespace: m.GetNamespace(), Name: m.GetName(), UID: types.UID(m.GetUid())}, nil
}

func explainCRI(err error, socket string) error {
	switch status.Code(err) {
	case codes.DeadlineExceeded:
		return fmt.Errorf("the container runtime at %s: %w", socket, context.DeadlineExceeded)
	case codes.Unavailable:
		return fmt.Errorf("the container runtime at %s does not answer: %w", socket, err)
	case codes.Unimplemented:
		return fmt.Errorf("what answers at %s is no container runtime with the CRI v1 (name its socket with --cri-socket): %w", socket, err)
	}
	return fmt.Errorf("the container runtime at %s: %w", socket, err)
}

// connect finds the socket anew each time: a runtime may be installed, or
// replaced by another, while this agent runs.
func (c *CRI) connect() (cri.RuntimeServiceClient, string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	path, err := c.socket()
	if err != nil {
		return nil, "", err
	}
	if c.conn != nil && c.at != path {
		_ = c.conn.Close()
		c.conn = nil
	}
	if c.conn == nil {
		conn, err := grpc.NewClient("unix://"+path, grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithConnectParams(grpc.ConnectParams{Backoff: criBackoff, MinConnectTimeout: criBackoff.MaxDelay}))
		if err != nil {
			return nil, "", fmt.Errorf("connecting to the container runtime at %s: %w", path, err)
		}
		c.conn, c.at = conn, path
	}
	return cri.NewRuntimeServiceClient(c.conn), path, nil
}

// criBackoff is between attempts to connect: it is the caller who waits long.
var criBackoff = backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 3 * time.Second}

func (c *CRI) socket() (string, error) {
	if c.path != "" {
		return c.path, isSocket(c.path)
	}
	for _, path := range wellKnown {
		if isSocket(path) == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("no container runtime answers at any of %v: name its socket with --cri-socket", wellKnown)
}

func isSocket(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("the container runtime's socket (--cri-socket): %w", err)
	}
	if info.Mode()&os.ModeSocket == 0 {
		return fmt.Errorf("the container runtime's socket (--cri-socket): %s is not a socket", path)
	}
	return nil
}
