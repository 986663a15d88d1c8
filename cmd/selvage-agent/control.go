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
	"sync/atomic"
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
	return serveOn(ctx, listener, controls(p.agent, kept.Remove, &p.told))
}

// leaver is what the control socket asks and tells: membership.Agent.
type leaver interface {
	Progress() membership.Progress
	Leave(by string, cutOffPods bool) bool
	Stay()
}

// controls are what the control socket answers. Once this node has left,
// remove takes the plugin away; told becomes true once somebody who asked it
// to stay was told that it does.
func controls(agent leaver, remove func() error, told *atomic.Bool) http.Handler {
	answer := func(w http.ResponseWriter, now membership.Progress) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(now)
	}
	stays := func(w http.ResponseWriter) {
		now := agent.Progress()
		answer(w, now)
		if sure, _ := remains(now, now.Peer); sure {
			_ = http.NewResponseController(w).Flush()
			told.Store(true)
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /progress", func(w http.ResponseWriter, _ *http.Request) { answer(w, agent.Progress()) })
	mux.HandleFunc("POST /leave", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		cutOff := q.Get("pods") == "cut-off"
		stands := agent.Leave(q.Get("by"), cutOff)
		now := agent.Progress()
		now.Cancelled = !stands
		// Pods that were cut off are still to be ended by the runtime, which
		// takes the plugin; who has not cut any off has none.
		if now.Left && !cutOff {
			if err := remove(); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
		}
		answer(w, now)
	})
	mux.HandleFunc("POST /stay", func(w http.ResponseWriter, _ *http.Request) {
		agent.Stay()
		stays(w)
	})
	mux.HandleFunc("GET /stay", func(w http.ResponseWriter, _ *http.Request) { stays(w) })
	return mux
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

// stay tells it to stay, and stays asks how far that is.
func (c control) stay(ctx context.Context) (membership.Progress, error) {
	return c.call(ctx, http.MethodPost, "/stay")
}

func (c control) stays(ctx context.Context) (membership.Progress, error) {
	return c.call(ctx, http.MethodGet, "/stay")
}

// progress asks how far it is, whatever it was told.
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
