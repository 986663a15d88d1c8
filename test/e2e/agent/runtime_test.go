// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package agent

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/node-agent/membership"
	"github.com/selvage-net/selvage/test/e2e/await"
)

// runtimeServer is a container runtime as far as stopping a sandbox goes: it
// calls DEL and takes the namespace away.
type runtimeServer struct {
	cri.UnimplementedRuntimeServiceServer
	mu      sync.Mutex
	pods    map[string]*pod
	strange []string
}

func (r *runtimeServer) PodSandboxStatus(_ context.Context, in *cri.PodSandboxStatusRequest) (*cri.PodSandboxStatusResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pods[in.PodSandboxId] == nil {
		return nil, status.Error(codes.NotFound, in.PodSandboxId)
	}
	return &cri.PodSandboxStatusResponse{Status: &cri.PodSandboxStatus{
		Id: in.PodSandboxId, Metadata: &cri.PodSandboxMetadata{Namespace: "default", Name: in.PodSandboxId, Uid: "uid-of-" + in.PodSandboxId},
	}}, nil
}

func (r *runtimeServer) StopPodSandbox(_ context.Context, in *cri.StopPodSandboxRequest) (*cri.StopPodSandboxResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.pods[in.PodSandboxId]
	if p == nil {
		r.strange = append(r.strange, in.PodSandboxId)
		return nil, status.Error(codes.NotFound, in.PodSandboxId)
	}
	delete(r.pods, in.PodSandboxId)
	_, _ = p.plugin("DEL")
	p.Close()
	return &cri.StopPodSandboxResponse{}, nil
}

// serveRuntime starts a container runtime on a machine.
func (m *machine) serveRuntime(pods ...*pod) *runtimeServer {
	m.t.Helper()
	r := &runtimeServer{pods: map[string]*pod{}}
	for _, p := range pods {
		r.pods[p.id] = p
	}
	listener, err := net.Listen("unix", filepath.Join(m.run, "cri.sock"))
	if err != nil {
		m.t.Fatal(err)
	}
	server := grpc.NewServer()
	cri.RegisterRuntimeServiceServer(server, r)
	go func() { _ = server.Serve(listener) }()
	m.t.Cleanup(server.Stop)
	return r
}

// awaitStopped waits until all pods of the runtime but so many are stopped.
func (r *runtimeServer) awaitStopped(t *testing.T, left int) {
	t.Helper()
	await.Until(t, "stale pods to be stopped", func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		if len(r.pods) != left || len(r.strange) > 0 {
			return fmt.Errorf("%d are left; asked to stop %v", len(r.pods), r.strange)
		}
		return nil
	})
}

// awaitNodeEvent waits for an Event on the Node that has those words.
func (s *stage) awaitNodeEvent(m *machine, reason string, words ...string) {
	s.t.Helper()
	s.awaitEvent("Node", m.node, "", reason, words...)
}

// awaitEvent is the same for any object; with a uid, the Event is to have that.
func (s *stage) awaitEvent(kind, name, uid, reason string, words ...string) {
	s.t.Helper()
	await.Until(s.t, "the Event "+reason, func() error {
		var events corev1.EventList
		if err := admin.List(s.t.Context(), &events, client.InNamespace("default")); err != nil {
			return err
		}
		seen := ""
		for _, e := range events.Items {
			if e.InvolvedObject.Kind != kind || e.InvolvedObject.Name != name {
				continue
			}
			seen += e.Reason + ": " + e.Message + "\n"
			all := e.Reason == reason && (uid == "" || string(e.InvolvedObject.UID) == uid)
			for _, word := range words {
				all = all && strings.Contains(e.Message, word)
			}
			if all {
				return nil
			}
		}
		return fmt.Errorf("there is only:\n%s", seen)
	})
}

// Stale pods are stopped through the CRI where one answers, and their links are
// gone with them. The node joins anew, and its pods have other addresses.
func TestRuntime_StalePodsAreStopped(t *testing.T) {
	s := newStage(t)
	a := newMachine(t)
	before, _ := s.join(a)
	x, y := a.awaitPod(), a.newPod()
	r := a.serveRuntime(x, y)
	s.declare(a.node)
	gone := s.transfer(a.node)
	a.awaitRow(membership.Fenced)
	r.awaitStopped(t, 0)
	await.Until(t, "no interface to be left", func() error {
		if links := a.links(); strings.Contains(links, x.id) || strings.Contains(links, y.id) {
			return fmt.Errorf("%s", links)
		}
		return nil
	})
	s.awaitNodeEvent(a, "StalePodsStopped", "so that the kubelet makes them anew", "default/")
	s.awaitNodeEvent(a, "NetworkFenced", "was removed from the network")
	for _, p := range []*pod{x, y} {
		s.awaitEvent("Pod", p.id, "uid-of-"+p.id, "NetworkTakenAway", "its sandbox was stopped")
	}
	// As docs/remove-a-peer.md has people look.
	out, err := exec.CommandContext(t.Context(), plane.Kubectl, "--kubeconfig", plane.Kubeconfig, "events", "--for", "node/"+a.node).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "StalePodsStopped") {
		t.Errorf("kubectl events: %v\n%s", err, out)
	}
	t.Logf("%s", out)
	s.finish(gone, nil)
	s.must(s.erase(t.Context(), a.node))
	after := s.admit(a)
	if after.UID == before.UID {
		t.Fatal("it is the same incarnation")
	}
	s.grant(after)
	if again := a.awaitPod(); again.addr == x.addr || again.addr == y.addr {
		t.Errorf("the address is %s again", again.addr)
	}
}

// The runtime is away while the node is fenced and joins anew, and the agent is
// started again meanwhile: the stale pods have no network, people are told, and
// when the runtime is back the stale pods are stopped, and they alone.
func TestRuntime_ComesLate(t *testing.T) {
	s := newStage(t)
	a := newMachine(t)
	s.join(a)
	x := a.awaitPod()
	s.declare(a.node)
	gone := s.transfer(a.node)
	a.awaitRow(membership.Fenced)
	await.Until(t, "the stale pod to be cut off", x.isCutOff)
	s.awaitNodeEvent(a, "StalePodsNotStopped", "without a network", "cri.sock", x.id)
	s.finish(gone, nil)
	s.must(s.erase(t.Context(), a.node))
	s.grant(s.admit(a))
	y := a.awaitPod()
	a.kill()
	a.start()
	a.awaitServing()
	r := a.serveRuntime(x, y)
	r.awaitStopped(t, 1)
	if err := y.isUp(); err != nil {
		t.Errorf("a pod of the new incarnation: %v", err)
	}
	s.awaitNodeEvent(a, "StalePodsStopped", x.id)
}
