// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/selvage-net/selvage/hack/cluster/nodes"
)

// nodeState is what the daemon says of a node.
type nodeState struct {
	Name      string       `json:"name"`
	State     string       `json:"state"`
	PID       int          `json:"pid,omitempty"`
	Addresses []netip.Addr `json:"addresses"`
}

// verbs are what can be done to a node.
var verbs = map[string]func(context.Context, *nodes.Node) error{
	"stop":    func(ctx context.Context, n *nodes.Node) error { return n.Stop(ctx) },
	"start":   func(ctx context.Context, n *nodes.Node) error { return n.Start(ctx) },
	"reboot":  func(ctx context.Context, n *nodes.Node) error { return n.Reboot(ctx) },
	"reimage": func(ctx context.Context, n *nodes.Node) error { return n.Reimage(ctx) },
	"cut":     func(_ context.Context, n *nodes.Node) error { return n.Cut() },
	"join":    func(_ context.Context, n *nodes.Node) error { return n.Join() },
	"pause":   func(ctx context.Context, n *nodes.Node) error { return n.Pause(ctx) },
	"resume":  func(ctx context.Context, n *nodes.Node) error { return n.Resume(ctx) },
}

// loading is a request to import an image.
type loading struct {
	Archive string   `json:"archive"`
	Nodes   []string `json:"nodes"`
}

// control answers the commands that are about nodes: only the daemon can do
// what they ask, since what it starts is to die with it.
func control(up *nodes.Cluster) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /nodes", func(w http.ResponseWriter, _ *http.Request) {
		var states []nodeState
		for _, n := range up.Nodes() {
			pid, _ := n.PID() // none if it is off
			states = append(states, nodeState{Name: n.Name, State: n.State(), PID: pid, Addresses: n.Addresses()})
		}
		_ = json.NewEncoder(w).Encode(states)
	})
	mux.HandleFunc("POST /nodes/{name}/{verb}", func(w http.ResponseWriter, r *http.Request) {
		answer(w, act(r.Context(), up, r.PathValue("name"), r.PathValue("verb")))
	})
	mux.HandleFunc("POST /nodes/{name}/wait", func(w http.ResponseWriter, r *http.Request) {
		answer(w, up.WaitBooted(r.Context(), r.PathValue("name")))
	})
	mux.HandleFunc("POST /images", func(w http.ResponseWriter, r *http.Request) {
		var asked loading
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
			answer(w, err)
			return
		}
		answer(w, up.LoadImage(r.Context(), asked.Archive, asked.Nodes...))
	})
	mux.HandleFunc("POST /collect", func(w http.ResponseWriter, r *http.Request) {
		var dir string
		if err := json.NewDecoder(r.Body).Decode(&dir); err != nil {
			answer(w, err)
			return
		}
		answer(w, up.Collect(r.Context(), dir))
	})
	return mux
}

func act(ctx context.Context, up *nodes.Cluster, name, verb string) error {
	if verb == "add" {
		_, err := up.AddNode(ctx, name)
		return err
	}
	n, err := up.Node(name)
	if err != nil {
		return err
	}
	do, ok := verbs[verb]
	if !ok {
		return fmt.Errorf("nothing called %q can be done to a node", verb)
	}
	return do(ctx, n)
}

func answer(w http.ResponseWriter, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
	}
}

// socketPath is where the daemon listens. Paths of sockets have some 100
// characters at most, and those of folders more: so it is named by way of the
// open folder.
func (c *cluster) socketPath() (string, func(), error) {
	dir, err := os.Open(c.dir)
	if err != nil {
		return "", nil, fmt.Errorf("opening --dir: %w", err)
	}
	return fmt.Sprintf("/proc/self/fd/%d/control", dir.Fd()), func() { dir.Close() }, nil
}

// serveControl answers until the context ends.
func (c *cluster) serveControl(ctx context.Context, up *nodes.Cluster) error {
	if err := os.RemoveAll(filepath.Join(c.dir, "control")); err != nil {
		return err
	}
	path, done, err := c.socketPath()
	if err != nil {
		return err
	}
	defer done()
	listener, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("listening for commands: %w", err)
	}
	server := &http.Server{Handler: control(up)}
	context.AfterFunc(ctx, func() { server.Close() })
	go func() { _ = server.Serve(listener) }()
	return os.Chmod(filepath.Join(c.dir, "control"), 0o600)
}

// ask sends the daemon a request and decodes its answer into a value, if any.
func (c *cluster) ask(ctx context.Context, method, path string, body, into any) error {
	if _, err := c.read(); err != nil {
		return err
	}
	encoded, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encoding a request: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://cluster"+path, bytes.NewReader(encoded))
	if err != nil {
		return fmt.Errorf("making a request: %w", err)
	}
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		socket, done, err := c.socketPath()
		if err != nil {
			return nil, err
		}
		defer done()
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	response, err := client.Do(request)
	if errors.Is(err, os.ErrNotExist) {
		return errors.New("this cluster has no nodes: go run ./hack/cluster down, then up --nodes 3")
	}
	if err != nil {
		return fmt.Errorf("asking the cluster: %w", err)
	}
	defer response.Body.Close()
	said, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("reading the cluster's answer: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return errors.New(string(bytes.TrimSpace(said)))
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(said, into)
}
