// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// runtime is a container runtime: a real gRPC server on a socket.
type containerRuntime struct {
	cri.UnimplementedRuntimeServiceServer
	mu        sync.Mutex
	sandboxes map[string]cri.NamespaceMode
	stopped   []string
	slow      chan struct{} // if not nil, calls wait for it
}

func (r *containerRuntime) PodSandboxStatus(ctx context.Context, in *cri.PodSandboxStatusRequest) (*cri.PodSandboxStatusResponse, error) {
	if r.slow != nil {
		select {
		case <-r.slow:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	mode, there := r.sandboxes[in.PodSandboxId]
	if !there {
		return nil, status.Error(codes.NotFound, "no such sandbox")
	}
	return &cri.PodSandboxStatusResponse{Status: &cri.PodSandboxStatus{
		Id: in.PodSandboxId, Linux: &cri.LinuxPodSandboxStatus{Namespaces: &cri.Namespace{Options: &cri.NamespaceOption{Network: mode}}},
	}}, nil
}

func (r *containerRuntime) StopPodSandbox(_ context.Context, in *cri.StopPodSandboxRequest) (*cri.StopPodSandboxResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = append(r.stopped, in.PodSandboxId)
	return &cri.StopPodSandboxResponse{}, nil
}

// serve serves at a socket until the returned function is called.
func (r *containerRuntime) serve(t *testing.T, path string) (stop func()) {
	t.Helper()
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	if r != nil {
		cri.RegisterRuntimeServiceServer(server, r)
	}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return server.Stop
}

// criAt is a CRI that is closed in the end.
func criAt(t *testing.T, path string) *CRI {
	t.Helper()
	c := NewCRI(path)
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func (r *containerRuntime) all() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.stopped, " ")
}

func TestCRIStops(t *testing.T) {
	r := &containerRuntime{sandboxes: map[string]cri.NamespaceMode{"a": cri.NamespaceMode_POD, "host": cri.NamespaceMode_NODE}}
	path := filepath.Join(t.TempDir(), "cri.sock")
	r.serve(t, path)
	c := criAt(t, "unix://"+path)
	for range 2 {
		if err := c.Stop(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Stop(t.Context(), "gone"); err != nil {
		t.Errorf("one that does not exist: %v", err)
	}
	if err := c.Stop(t.Context(), "host"); !errors.Is(err, errHostNetwork) {
		t.Errorf("one on the host's network: %v", err)
	}
	if got := r.all(); got != "a a" {
		t.Errorf("stopped %q", got)
	}
}

// A runtime that is not there, is something else, or is slow, is named with
// what to do; when it is there again it is used.
func TestCRITroubles(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "cri.sock")
	c := criAt(t, path)
	fails := func(c *CRI, words ...string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		err := c.Stop(ctx, "a")
		for _, word := range words {
			if err == nil || !strings.Contains(err.Error(), word) {
				t.Errorf("got %v, want %q", err, word)
			}
		}
	}
	fails(c, "no such file", path, "--cri-socket")
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	fails(NewCRI(plain), "is not a socket", "--cri-socket")

	// A socket that nobody listens at any more.
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	_ = dead.Close()
	fails(c, "does not answer", path)
	_ = os.Remove(path)

	// Something that speaks gRPC and is no runtime.
	stop := (*containerRuntime)(nil).serve(t, path)
	awaitStop(t, c, "no container runtime")
	stop()

	// Slow: the caller's patience counts.
	r := &containerRuntime{sandboxes: map[string]cri.NamespaceMode{"a": cri.NamespaceMode_POD}, slow: make(chan struct{})}
	r.serve(t, path)
	awaitStopOf(t, c, func(err error) bool { return errors.Is(err, context.DeadlineExceeded) })
	close(r.slow)
	awaitStopOf(t, c, func(err error) bool { return err == nil })
	if r.all() == "" {
		t.Error("nothing was stopped")
	}
}

func awaitStop(t *testing.T, c *CRI, word string) {
	t.Helper()
	awaitStopOf(t, c, func(err error) bool { return err != nil && strings.Contains(err.Error(), word) })
}

// awaitStopOf stops again until the answer is as wanted: the connection takes
// its time to see that another server is there.
func awaitStopOf(t *testing.T, c *CRI, wanted func(error) bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	var err error
	for time.Now().Before(deadline) {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		err = c.Stop(ctx, "a")
		cancel()
		if wanted(err) {
			return
		}
	}
	t.Fatalf("in the end: %v", err)
}
