// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"k8s.io/apimachinery/pkg/util/wait"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/selvage-net/selvage/test/e2e/nodes/stage"
)

// subject is the node that sandboxes are made on.
const subject = "node1"

// reference is the other network's configuration. Its name sorts before ours,
// so that containerd prefers it while it is there.
const reference = `{
  "cniVersion": "1.0.0",
  "name": "reference",
  "plugins": [
    {"type": "bridge", "bridge": "cni0", "isDefaultGateway": true, "hairpinMode": true,
     "ipam": {"type": "host-local", "dataDir": "/run/cni/networks", "ranges": [[{"subnet": "10.99.0.0/22"}]]}},
    {"type": "portmap", "capabilities": {"portMappings": true}},
    {"type": "bandwidth", "capabilities": {"bandwidth": true}}
  ]
}
`

var referenceRange = netip.MustParsePrefix("10.99.0.0/22")

// runtime is a node's containerd.
type runtime struct {
	cri.RuntimeServiceClient
	conn *grpc.ClientConn
	made int
}

func connect(s *stage.Stage) (*runtime, error) {
	n, err := s.Node(subject)
	if err != nil {
		return nil, err
	}
	pid, err := n.PID()
	if err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient(fmt.Sprintf("unix:///proc/%d/root/run/containerd/containerd.sock", pid),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	return &runtime{RuntimeServiceClient: cri.NewRuntimeServiceClient(conn), conn: conn}, nil
}

// measureSandboxes makes sandboxes with the one network and with the other, in
// turns.
func measureSandboxes(ctx context.Context, s *stage.Stage, o options) (ours, theirs []time.Duration, err error) {
	fmt.Fprintln(os.Stderr, "measuring sandboxes")
	r, err := connect(s)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, r.conn.Close()) }()
	n, err := s.Node(subject)
	if err != nil {
		return nil, nil, err
	}
	pid, err := n.PID()
	if err != nil {
		return nil, nil, err
	}
	other := fmt.Sprintf("/proc/%d/root/etc/cni/net.d/05-reference.conflist", pid)
	for range o.rounds {
		more, err := r.makeMany(ctx, o.sandboxes)
		if err != nil {
			return nil, nil, err
		}
		ours = append(ours, more...)
		if err := replace(other, reference); err != nil {
			return nil, nil, err
		}
		if err := r.await(ctx, true); err != nil {
			return nil, nil, err
		}
		if more, err = r.makeMany(ctx, o.sandboxes); err != nil {
			return nil, nil, err
		}
		theirs = append(theirs, more...)
		if err := os.Remove(other); err != nil {
			return nil, nil, err
		}
		if err := r.await(ctx, false); err != nil {
			return nil, nil, err
		}
	}
	return ours, theirs, nil
}

// replace writes a file that appears whole.
func replace(path, text string) error {
	fresh := filepath.Join(filepath.Dir(path), ".fresh")
	return errors.Join(os.WriteFile(fresh, []byte(text), 0o600), os.Rename(fresh, path))
}

// await waits until sandboxes get their addresses from the one network or from
// the other.
func (r *runtime) await(ctx context.Context, theirs bool) error {
	return wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		id, _, err := r.make(ctx)
		if err != nil {
			return false, err
		}
		now, err := r.PodSandboxStatus(ctx, &cri.PodSandboxStatusRequest{PodSandboxId: id})
		if err == nil {
			err = r.end(ctx, id)
		}
		if err != nil {
			return false, err
		}
		addr, err := netip.ParseAddr(now.GetStatus().GetNetwork().GetIp())
		return err == nil && referenceRange.Contains(addr) == theirs, err
	})
}

func (r *runtime) makeMany(ctx context.Context, count int) (times []time.Duration, err error) {
	for range count {
		id, took, err := r.make(ctx)
		if err != nil {
			return nil, err
		}
		times = append(times, took)
		if err := r.end(ctx, id); err != nil {
			return nil, err
		}
	}
	return times, nil
}

// make makes a sandbox, and returns how long containerd took: the network
// namespace, its network, and the process that holds it.
func (r *runtime) make(ctx context.Context) (string, time.Duration, error) {
	r.made++
	name := fmt.Sprintf("bench-%d", r.made)
	config := &cri.PodSandboxConfig{
		Metadata: &cri.PodSandboxMetadata{Name: name, Uid: name, Namespace: "bench"},
		Linux: &cri.LinuxPodSandboxConfig{
			CgroupParent:    "/bench",
			SecurityContext: &cri.LinuxSandboxSecurityContext{NamespaceOptions: &cri.NamespaceOption{Pid: cri.NamespaceMode_CONTAINER}},
		},
		LogDirectory: "/var/log/pods/" + name,
	}
	began := time.Now()
	response, err := r.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: config})
	took := time.Since(began)
	if err != nil {
		return "", 0, fmt.Errorf("making a sandbox: %w", err)
	}
	return response.PodSandboxId, took, nil
}

func (r *runtime) end(ctx context.Context, id string) error {
	if _, err := r.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: id}); err != nil {
		return fmt.Errorf("stopping a sandbox: %w", err)
	}
	_, err := r.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: id})
	return err
}
