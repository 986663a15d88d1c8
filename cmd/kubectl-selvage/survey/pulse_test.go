// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package survey

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// script answers each request with what is next in it.
type script func(*http.Request) (*http.Response, error)

func (s script) RoundTrip(r *http.Request) (*http.Response, error) { return s(r) }

// body ends as it is told.
type body struct {
	io.Reader
	end error
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if n == 0 && err == io.EOF {
		err = b.end
	}
	return n, err
}
func (*body) Close() error { return nil }

func answer(code int, text string, end error) script {
	return func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: code, Body: &body{strings.NewReader(text), end}}, nil
	}
}

// try sends one request through the pulse and reads the answer to its end.
func try(t *testing.T, p *pulse, next script, path string, ctx context.Context) {
	t.Helper()
	p.next = next
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://api"+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if response, err := p.RoundTrip(r); err == nil {
		_, _ = io.Copy(io.Discard, response.Body)
		response.Body.Close()
	}
}

var errRefused = errors.New("connection refused")

func refused(*http.Request) (*http.Response, error) { return nil, errRefused }

// What is lost, since when, and what ends it; one path says nothing of another.
func TestPulse(t *testing.T) {
	told, now := 0, time.Unix(1000, 0)
	p := newPulse(nil, func() { told++ })
	p.now = func() time.Time { now = now.Add(time.Second); return now }
	expect := func(why string, want error, changes int) time.Time {
		t.Helper()
		lost, _ := p.state()
		if !errors.Is(lost.why, want) || (want == nil) != (lost.why == nil) || told != changes {
			t.Fatalf("%s: lost %v, told %d times; want %v, %d", why, lost.why, told, want, changes)
		}
		return lost.since
	}
	try(t, p, answer(200, "{}", io.EOF), "/peers", t.Context())
	try(t, p, answer(410, "too old", io.EOF), "/peers", t.Context())
	expect("a watch that has run its time is no loss", nil, 0)
	try(t, p, refused, "/peers", t.Context())
	first := expect("refused", errRefused, 1)
	try(t, p, refused, "/peers", t.Context())
	if since := expect("still refused", errRefused, 1); since != first {
		t.Errorf("lost since %v, first %v", since, first)
	}
	try(t, p, answer(200, "{}", io.EOF), "/pools", t.Context())
	expect("another path answers", errRefused, 1)
	try(t, p, answer(200, "", io.EOF), "/peers", t.Context())
	expect("it answers", nil, 2)

	cut := errors.New("connection reset")
	try(t, p, answer(200, "an event", cut), "/peers", t.Context())
	expect("the watch breaks", cut, 3)
	_, before := p.state()
	try(t, p, answer(200, "an event", io.EOF), "/peers", t.Context())
	if _, heard := p.state(); !heard.After(before) {
		t.Error("an event is not heard")
	}

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	try(t, p, refused, "/peers", ended)
	try(t, p, answer(200, "", cut), "/peers", ended)
	expect("what we end ourselves is no loss", nil, 4)
	late, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	try(t, p, refused, "/peers", late)
	expect("an answer that does not come in time is one", errRefused, 5)

	try(t, p, answer(403, "", io.EOF), "/leases", t.Context())
	try(t, p, answer(200, "", io.EOF), "/peers", t.Context())
	if lost, _ := p.state(); !apierrors.IsForbidden(lost.why) {
		t.Errorf("the right is gone, and lost is %v", lost.why)
	}
}
