// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package web

import (
	"context"
	"crypto/subtle"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

//go:embed assets
var embedded embed.FS

// policy lets the page load and reach what we serve, and nothing else. No
// script or style in the page itself is obeyed, and no text becomes markup
// (https://www.w3.org/TR/CSP3/, https://www.w3.org/TR/trusted-types/).
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// writeWithin is how long a browser may take to accept an event.
const writeWithin = 30 * time.Second

// Handler serves the page below /TOKEN/, and nothing to anybody who does not
// know the token: whoever has a login on this machine reaches its loopback.
// The token is in the path, and no cookie: browsers send a cookie to every port
// of a host.
func Handler(feed *Feed, token string) http.Handler {
	assets, err := fs.Sub(embedded, "assets")
	if err != nil {
		panic(err) // cannot happen: the name is a constant
	}
	mux := http.NewServeMux()
	mux.Handle("/", http.FileServerFS(assets))
	mux.HandleFunc("/document.json", feed.document)
	mux.HandleFunc("/events", feed.events)
	return guard(token, mux)
}

// guard refuses whom the page is not for.
func guard(token string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		// A name that somebody else's DNS points here makes their page and ours
		// one origin for the browser.
		if !loopback(r.Host) {
			http.Error(w, "this page is served to 127.0.0.1 and localhost only", http.StatusForbidden)
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			h.Set("Allow", "GET, HEAD")
			http.Error(w, "this page only reads", http.StatusMethodNotAllowed)
			return
		}
		given, path, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		if subtle.ConstantTimeCompare([]byte(given), []byte(token)) != 1 {
			http.Error(w, "open the address that kubectl selvage web has printed: it is another one each time", http.StatusForbidden)
			return
		}
		if r.URL.Path == "/"+token {
			http.Redirect(w, r, "/"+token+"/", http.StatusFound)
			return
		}
		inner := r.Clone(r.Context())
		inner.URL.Path, inner.URL.RawPath = "/"+path, ""
		next.ServeHTTP(w, inner)
	})
}

// loopback says whether a Host header names this machine's loopback.
func loopback(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	address, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && address.IsLoopback()
}

// document is one edition, for programs.
func (f *Feed) document(w http.ResponseWriter, r *http.Request) {
	defer f.Join()()
	e := f.await(r.Context())
	if e == nil {
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(struct {
		*Document
		Pulse Pulse `json:"pulse"`
	}{e.Document, e.Pulse})
}

// await is the current edition, once there is one; nil if ctx ends first.
func (f *Feed) await(ctx context.Context) *Edition {
	for {
		e, next := f.Current()
		if e != nil {
			return e
		}
		select {
		case <-ctx.Done():
			return nil
		case <-next:
		}
	}
}

// events sends the document, and then what changes of it, for as long as the
// browser listens (https://html.spec.whatwg.org/multipage/server-sent-events.html).
func (f *Feed) events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	if r.Method == http.MethodHead {
		return
	}
	defer f.Join()()
	out := &stream{w: w, to: http.NewResponseController(w)}
	// The browser asks again a second after a connection has broken.
	out.write("retry: 1000\n\n")
	var shown *Document
	for out.err == nil {
		e, next := f.Current()
		if e != nil {
			out.edition(shown, e)
			shown = e.Document
		}
		out.flush()
		select {
		case <-r.Context().Done():
			out.send("end", struct{}{})
			out.flush()
			return
		case <-next:
		}
	}
}

// stream writes events until one cannot be written.
type stream struct {
	w   http.ResponseWriter
	to  *http.ResponseController
	err error
}

func (s *stream) edition(shown *Document, e *Edition) {
	if shown == nil {
		s.send("document", e.Document)
	} else if shown != e.Document {
		if c := Diff(shown, e.Document); !c.Empty() {
			s.send("change", c)
		}
	}
	s.send("pulse", e.Pulse)
}

func (s *stream) send(event string, data any) {
	raw, err := json.Marshal(data)
	if err != nil {
		s.err = err
		return
	}
	s.write(fmt.Sprintf("event: %s\ndata: %s\n\n", event, raw)) // JSON has no line breaks
}

func (s *stream) write(text string) {
	if s.err != nil {
		return
	}
	_ = s.to.SetWriteDeadline(time.Now().Add(writeWithin)) // not every writer has one
	_, s.err = s.w.Write([]byte(text))
}

func (s *stream) flush() {
	if s.err == nil {
		s.err = s.to.Flush()
	}
}
