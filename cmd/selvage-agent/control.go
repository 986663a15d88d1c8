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
	"net/url"
	"os"
	"time"

	"github.com/selvage-net/selvage/node-agent/installation"
	"github.com/selvage-net/selvage/node-agent/membership"
)

// controlSocket is the running agent's, in the run directory: for root alone.
const controlSocket = "agent.sock"

// serveControl answers reset. One that leaves without an agent answers too, so
// that it can be told to stay.
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
	// Pods that were cut off are still to be ended by the runtime, which takes
	// the plugin; who has not cut any off has none.
	answer := func(w http.ResponseWriter, cancelled, podless bool) {
		now := p.agent.Progress()
		now.Cancelled = cancelled
		if now.Left && podless {
			if err := kept.Remove(); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(now)
		if sure, _ := remains(now, now.Peer); sure {
			_ = http.NewResponseController(w).Flush()
			p.told.Store(true)
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /progress", func(w http.ResponseWriter, _ *http.Request) { answer(w, false, false) })
	mux.HandleFunc("POST /leave", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		cutOff := q.Get("pods") == "cut-off"
		stands := p.agent.Leave(q.Get("by"), cutOff)
		answer(w, !stands, !cutOff)
	})
	mux.HandleFunc("POST /stay", func(w http.ResponseWriter, _ *http.Request) {
		p.agent.Stay()
		answer(w, false, false)
	})
	return serveOn(ctx, listener, mux)
}

// errNoAgent says that no agent answers at the socket.
var errNoAgent = errors.New("no agent runs here")

// control is the socket of the agent that runs here.
type control string

// leave tells it to leave. It is asked for again and again, so that an agent
// that was started meanwhile knows of it too.
func (c control) leave(ctx context.Context, by string, cutOff bool) (membership.Progress, error) {
	query := url.Values{"by": {by}}
	if cutOff {
		query.Set("pods", "cut-off")
	}
	return c.call(ctx, http.MethodPost, "/leave?"+query.Encode())
}

// stay tells it to stay.
func (c control) stay(ctx context.Context) (membership.Progress, error) {
	return c.call(ctx, http.MethodPost, "/stay")
}

func (c control) progress(ctx context.Context) (membership.Progress, error) {
	return c.call(ctx, http.MethodGet, "/progress")
}

func (c control) call(ctx context.Context, method, what string) (membership.Progress, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", string(c))
	}
	transport := &http.Transport{DialContext: dial, DisableKeepAlives: true}
	request, err := http.NewRequestWithContext(ctx, method, "http://agent"+what, nil)
	if err != nil {
		return membership.Progress{}, err
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return membership.Progress{}, fmt.Errorf("%w (%s: %w)", errNoAgent, string(c), err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		said, _ := io.ReadAll(io.LimitReader(response.Body, 1<<12))
		return membership.Progress{}, fmt.Errorf("the agent at %s: %s", string(c), bytes.TrimSpace(said))
	}
	var progress membership.Progress
	if err := json.NewDecoder(io.LimitReader(response.Body, 1<<20)).Decode(&progress); err != nil {
		return membership.Progress{}, fmt.Errorf("the agent's answer at %s: %w", string(c), err)
	}
	return progress, nil
}
