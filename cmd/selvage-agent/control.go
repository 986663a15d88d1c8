// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

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
	"os"
	"time"

	"github.com/selvage-net/selvage/node-agent/installation"
	"github.com/selvage-net/selvage/node-agent/membership"
)

// controlSocket is the running agent's, in the run directory: for root alone.
const controlSocket = "agent.sock"

// serveControl answers reset.
func (p *parts) serveControl(ctx context.Context, path string, kept *installation.Installation) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("the agent's socket: %w", err)
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return fmt.Errorf("the agent's socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return errors.Join(fmt.Errorf("the agent's socket: %w", err), listener.Close())
	}
	answer := func(w http.ResponseWriter) {
		now := p.agent.Progress()
		if now.Left {
			if err := kept.Remove(); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(now)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /progress", func(w http.ResponseWriter, _ *http.Request) { answer(w) })
	mux.HandleFunc("POST /leave", func(w http.ResponseWriter, r *http.Request) {
		p.agent.Leave(r.URL.Query().Get("pods") == "cut-off")
		answer(w)
	})
	return serveOn(ctx, listener, mux)
}

// errNoAgent says that no agent answers at the socket.
var errNoAgent = errors.New("no agent runs here")

// askLeave tells the running agent to leave. It is asked for again and again,
// so that an agent that was started meanwhile knows of it too.
func askLeave(ctx context.Context, path string, cutOff bool) (membership.Progress, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}
	transport := &http.Transport{DialContext: dial, DisableKeepAlives: true}
	url := "http://agent/leave"
	if cutOff {
		url += "?pods=cut-off"
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, nil)
	if err != nil {
		return membership.Progress{}, err
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return membership.Progress{}, fmt.Errorf("%w (%s: %w)", errNoAgent, path, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		said, _ := io.ReadAll(io.LimitReader(response.Body, 1<<12))
		return membership.Progress{}, fmt.Errorf("the agent at %s: %s", path, bytes.TrimSpace(said))
	}
	var progress membership.Progress
	if err := json.NewDecoder(io.LimitReader(response.Body, 1<<20)).Decode(&progress); err != nil {
		return membership.Progress{}, fmt.Errorf("the agent's answer at %s: %w", path, err)
	}
	return progress, nil
}
