// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package web

import (
	"bufio"
	"context"
	"encoding/json"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"
)

const secret = "S3CRET"

// get asks a handler whose feed never has anything.
func get(t *testing.T, method, host, path string) *httptest.ResponseRecorder {
	t.Helper()
	f := NewFeed("here", newSource(), nil, error.Error)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // what is let through never ends
	defer cancel()
	r := httptest.NewRequestWithContext(ctx, method, path, http.NoBody)
	r.Host = host
	w := httptest.NewRecorder()
	Handler(f, secret).ServeHTTP(w, r)
	return w
}

// Each guard refuses what it is there for, and lets through what is meant.
func TestGuards(t *testing.T) {
	for _, c := range []struct {
		name, method, host, path string
		want                     int
	}{
		{"the page", "GET", "127.0.0.1:4711", "/" + secret + "/", 200},
		{"HEAD", "HEAD", "127.0.0.1:4711", "/" + secret + "/", 200},
		{"HEAD of what never ends", "HEAD", "127.0.0.1:4711", "/" + secret + "/events", 200},
		{"by name", "GET", "LocalHost:4711", "/" + secret + "/style.css", 200},
		{"by IPv6", "GET", "[::1]:4711", "/" + secret + "/page.js", 200},
		{"without a port", "GET", "127.0.0.1", "/" + secret + "/words.js", 200},
		{"without the slash", "GET", "127.0.0.1:4711", "/" + secret, 302},
		{"nothing there", "GET", "127.0.0.1:4711", "/" + secret + "/nothing", 404},

		{"a foreign host", "GET", "evil.example:4711", "/" + secret + "/", 403},
		{"a host that begins well", "GET", "127.0.0.1.evil.example", "/" + secret + "/", 403},
		{"a host that ends well", "GET", "evil.localhost", "/" + secret + "/", 403},
		{"another address", "GET", "192.168.1.1:4711", "/" + secret + "/", 403},
		{"no host", "GET", "", "/" + secret + "/", 403},
		{"no token", "GET", "127.0.0.1:4711", "/", 403},
		{"no token, a file", "GET", "127.0.0.1:4711", "/page.js", 403},
		{"no token, the document", "GET", "127.0.0.1:4711", "/document.json", 403},
		{"another token", "GET", "127.0.0.1:4711", "/S3CREU/", 403},
		{"a part of the token", "GET", "127.0.0.1:4711", "/S3C/", 403},
		{"more than the token", "GET", "127.0.0.1:4711", "/" + secret + "X/", 403},
		{"the token elsewhere", "GET", "127.0.0.1:4711", "/?token=" + secret, 403},
		{"POST", "POST", "127.0.0.1:4711", "/" + secret + "/", 405},
		{"DELETE", "DELETE", "127.0.0.1:4711", "/" + secret + "/document.json", 405},
		{"OPTIONS", "OPTIONS", "127.0.0.1:4711", "/" + secret + "/", 405},
	} {
		response := get(t, c.method, c.host, c.path)
		if response.Code != c.want {
			t.Errorf("%s: %d, want %d", c.name, response.Code, c.want)
		}
		for header, want := range map[string]string{
			"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store",
			"Referrer-Policy": "no-referrer", "Cross-Origin-Resource-Policy": "same-origin",
		} {
			if got := response.Header().Get(header); got != want && c.want != 404 { // there is nothing to keep
				t.Errorf("%s: %s is %q", c.name, header, got)
			}
		}
		if body := response.Body.String(); c.want >= 400 && strings.Contains(body, secret) {
			t.Errorf("%s: the token is told: %s", c.name, body)
		}
	}
}

// What the page is made of names nobody else, and has no script or style that
// its own policy would not obey.
func TestAssetsKeepThePolicy(t *testing.T) {
	names, err := fs.Glob(embedded, "assets/*")
	if err != nil || len(names) < 8 {
		t.Fatalf("%v, %v", names, err)
	}
	for _, name := range names {
		raw, err := fs.ReadFile(embedded, name)
		if err != nil {
			t.Fatal(err)
		}
		text := strings.ReplaceAll(string(raw), `http://www.w3.org/2000/svg`, "") // a name, not an address
		for _, never := range []string{"http://", "https://", "//cdn", "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "style=\"", "javascript:", "@import"} {
			if strings.Contains(text, never) {
				t.Errorf("%s has %s", name, never)
			}
		}
		if strings.HasSuffix(name, ".html") && (strings.Contains(text, "<style") || strings.Contains(text, "onclick") || strings.Count(text, "<script") != strings.Count(text, "<script type=\"module\" src=")) {
			t.Errorf("%s has a script or style in itself", name)
		}
	}
	for _, must := range []string{"default-src 'none'", "script-src 'self'", "connect-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"} {
		if !strings.Contains(policy, must) {
			t.Errorf("the policy lacks %s", must)
		}
	}
	if strings.Contains(policy, "unsafe") || strings.Contains(policy, "*") {
		t.Error("the policy lets in what it should not")
	}
}

// event reads the next event of a stream.
func event(t *testing.T, from *bufio.Scanner) (name, data string) {
	t.Helper()
	for from.Scan() {
		line := from.Text()
		if v, is := strings.CutPrefix(line, "event: "); is {
			name = v
		} else if v, is := strings.CutPrefix(line, "data: "); is {
			return name, v
		}
	}
	t.Fatalf("the stream ends: %v", from.Err())
	return "", ""
}

// A program that serves: the whole document first, then what changes, and at
// its end a farewell. It listens on loopback, and leaves nothing behind.
func TestServe(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s, changed := newSource(), make(chan struct{}, 1)
	ready, done := make(chan string, 1), make(chan error, 1)
	go func() {
		done <- Serve(ctx, NewFeed("here", s, changed, error.Error), 0, func(url string) { ready <- url })
	}()
	page := <-ready
	if !strings.HasPrefix(page, "http://127.0.0.1:") {
		t.Fatalf("it is served at %s", page)
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client := http.Client{Transport: transport, Timeout: time.Minute}
	stream, err := client.Get(page + "events")
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	if kind := stream.Header.Get("Content-Type"); kind != "text/event-stream" {
		t.Errorf("a stream of %s", kind)
	}
	events := bufio.NewScanner(stream.Body)
	events.Buffer(nil, 1<<20)
	var d Document
	name, data := event(t, events)
	if err := json.Unmarshal([]byte(data), &d); name != "document" || err != nil || len(d.Peers) != 3 {
		t.Fatalf("%s, %v: %s", name, err, data)
	}
	if name, _ := event(t, events); name != "pulse" {
		t.Fatalf("then %s", name)
	}
	s.set(func(s *source) {
		s.state = state(3, 4)
		s.state.Peers[1].Status.Agent.Version = "v2"
	})
	changed <- struct{}{}
	for name = ""; name != "change"; {
		name, data = event(t, events)
	}
	var c Change
	if err := json.Unmarshal([]byte(data), &c); err != nil || c.Head != nil || len(c.Peers) != 1 || c.Peers[0].Version != "v2" {
		t.Errorf("%v: %s", err, data)
	}
	whole, err := client.Get(page + "document.json")
	if err != nil {
		t.Fatal(err)
	}
	defer whole.Body.Close()
	if err := json.NewDecoder(whole.Body).Decode(&d); err != nil || d.Peers[1].Version != "v2" {
		t.Errorf("%v: %+v", err, d)
	}
	cancel()
	for name = ""; name != "end"; {
		name, _ = event(t, events)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A port that is taken is named with what to do.
func TestServeOnTakenPort(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	err = Serve(t.Context(), NewFeed("here", newSource(), nil, error.Error), l.Addr().(*net.TCPAddr).Port, func(string) { t.Error("ready") })
	if err == nil || !strings.Contains(err.Error(), "choose another --port") {
		t.Errorf("%v", err)
	}
}

// The file that leads a browser to the page is its owner's alone, and goes.
func TestSignpost(t *testing.T) {
	path, remove, err := Signpost("http://127.0.0.1:1/" + secret + "/")
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	raw, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(raw), "0;url=http://127.0.0.1:1/"+secret+"/") {
		t.Errorf("%v: %s", err, raw)
	}
	remove()
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("it is still there: %v", err)
	}
}
