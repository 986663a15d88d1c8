// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/selvage-net/selvage/node-agent/membership"
)

func TestRemains(t *testing.T) {
	for _, c := range []struct {
		now  membership.Progress
		sure bool
		err  string
	}{
		{membership.Progress{Row: "Resume", Peer: "u"}, true, ""},
		{membership.Progress{Row: "Resume", Peer: "u", Staying: true}, false, ""},
		{membership.Progress{Row: "Suspended", Peer: "u", Removal: "Leaving", Staying: true}, false, ""},
		{membership.Progress{Row: "Unreachable", Staying: true}, false, ""},
		{membership.Progress{Row: "Suspended", Peer: "u", Removal: "Declared"}, false, "kubectl selvage cancel"},
		{membership.Progress{Row: "Resume", Peer: "u", Leaving: true}, false, "another selvage-agent reset"},
		{membership.Progress{Row: "Fenced", Peer: "u", Staying: true}, false, "point of no return"},
		{membership.Progress{Row: "Resume", Peer: "another"}, false, "too late"},
		{membership.Progress{Row: "Scratch", Left: true}, false, "too late"},
		{membership.Progress{Row: "Scratch", Waiting: "the Node host1"}, false, "nothing to cancel: this node is not a member of the network (Scratch: the Node host1)"},
		{membership.Progress{Row: "DeclaredOut"}, false, "nothing to cancel"},
		{membership.Progress{Row: "Contend"}, false, "nothing to cancel"},
	} {
		sure, err := remains(c.now, "u")
		if sure != c.sure || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%+v: %t, %v", c.now, sure, err)
		}
	}
}

// member is an agent that does as it is told.
type member struct{ now membership.Progress }

func (m *member) Progress() membership.Progress { return m.now }
func (m *member) Leave(by string, _ bool) bool  { return by != "cancelled" }
func (m *member) Stay()                         {}

// Only who asked for it, and was answered, has been told that this node stays:
// a doctor who looks on has not asked.
func TestControls(t *testing.T) {
	agent, removed := &member{membership.Progress{Row: "Resume", Peer: "u"}}, 0
	var told atomic.Bool
	handler := controls(agent, func() error { removed++; return nil }, &told)
	for _, c := range []struct {
		method, path string
		says         string
		told         bool
	}{
		{http.MethodGet, "/progress", `"row":"Resume"`, false},
		{http.MethodPost, "/leave?by=a", `"peer":"u"`, false},
		{http.MethodPost, "/leave?by=cancelled", `"cancelled":true`, false},
		{http.MethodPost, "/stay", `"row":"Resume"`, true},
		{http.MethodGet, "/stay", `"row":"Resume"`, true},
	} {
		told.Store(false)
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, httptest.NewRequest(c.method, c.path, nil))
		if answer.Code != http.StatusOK || !strings.Contains(answer.Body.String(), c.says) || told.Load() != c.told {
			t.Errorf("%s %s: %d %s, told %t", c.method, c.path, answer.Code, answer.Body, told.Load())
		}
	}
	agent.now.Left = true
	for path, want := range map[string]int{"/progress": 0, "/leave?pods=cut-off": 0, "/leave": 1} {
		removed = 0
		method := http.MethodPost
		if path == "/progress" {
			method = http.MethodGet
		}
		handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(method, path, nil))
		if removed != want {
			t.Errorf("%s: the plugin was removed %d times, want %d", path, removed, want)
		}
	}
	broken := controls(agent, func() error { return errors.New("read-only") }, &told)
	answer := httptest.NewRecorder()
	broken.ServeHTTP(answer, httptest.NewRequest(http.MethodPost, "/leave", nil))
	if answer.Code != http.StatusInternalServerError || !strings.Contains(answer.Body.String(), "read-only") {
		t.Errorf("%d %s", answer.Code, answer.Body)
	}
}
