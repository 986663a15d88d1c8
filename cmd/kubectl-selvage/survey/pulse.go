// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package survey

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// pulse watches the requests of a Follower: each answer says that the API
// server is there, and each that fails says that it is not, path by path. A
// cache alone does not tell: it begins a refused watch anew without a word, and
// has nothing to say of one that goes on where nothing had changed.
type pulse struct {
	next http.RoundTripper
	tell func()
	now  func() time.Time

	mu    sync.Mutex
	lost  map[string]loss
	heard time.Time
}

// loss is a path that is not answered, since when and why.
type loss struct {
	since time.Time
	why   error
}

func newPulse(next http.RoundTripper, tell func()) *pulse {
	if next == nil {
		next = http.DefaultTransport
	}
	return &pulse{next: next, tell: tell, now: time.Now, lost: map[string]loss{}}
}

// RoundTrip implements http.RoundTripper.
func (p *pulse) RoundTrip(r *http.Request) (*http.Response, error) {
	path := r.URL.Path
	response, err := p.next.RoundTrip(r)
	if err != nil {
		if r.Context().Err() == nil || errors.Is(r.Context().Err(), context.DeadlineExceeded) {
			// As http.Client puts it, which is what people are told from.
			p.note(path, &url.Error{Op: r.Method, URL: r.URL.String(), Err: err})
		}
		return response, err
	}
	p.note(path, refusal(r, response.StatusCode))
	if response.StatusCode < http.StatusMultipleChoices {
		response.Body = &listener{ReadCloser: response.Body, ctx: r.Context(), hear: func(err error) { p.note(path, err) }}
	}
	return response, nil
}

// refusal is what a status code says. One that is too old to go on from is
// begun anew, and is no loss.
func refusal(r *http.Request, code int) error {
	if code < http.StatusBadRequest || code == http.StatusGone {
		return nil
	}
	return apierrors.NewGenericServerResponse(code, r.Method, schema.GroupResource{Resource: r.URL.Path}, "", "", 0, true)
}

// note is told of every answer (nil), and of every failure.
func (p *pulse) note(path string, err error) {
	p.mu.Lock()
	before, was := p.lost[path]
	if err == nil {
		p.heard = p.now()
		delete(p.lost, path)
	} else {
		l := loss{since: p.now(), why: err}
		if was {
			l.since = before.since
		}
		p.lost[path] = l
	}
	p.mu.Unlock()
	if was != (err != nil) {
		p.tell()
	}
}

// state is the first loss that lasts, if there is one, and when something was
// heard last.
func (p *pulse) state() (lost loss, heard time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.lost {
		if lost.why == nil || l.since.Before(lost.since) {
			lost = l
		}
	}
	return lost, p.heard
}

// listener notes what comes of a watch that goes on.
type listener struct {
	io.ReadCloser
	ctx  context.Context
	hear func(error)
}

func (l *listener) Read(b []byte) (int, error) {
	n, err := l.ReadCloser.Read(b)
	switch {
	case n > 0:
		l.hear(nil)
	case err != nil && !errors.Is(err, io.EOF) && l.ctx.Err() == nil:
		l.hear(err)
	}
	return n, err
}
