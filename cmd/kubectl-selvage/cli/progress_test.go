// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/selvage-net/selvage/cmd/kubectl-selvage/removal"
)

var steps = []removal.Step{
	{Text: "fencing host3 … 48s left", Fleeting: true, Key: "lease"},
	{Text: "fencing host3 … 47s left", Fleeting: true, Key: "lease"},
	{Text: "fencing host3 … cut off by 2 of 2 peers", Fleeting: true},
	{Text: "524288 IPs taken over from host3"},
}

func TestProgressInALog(t *testing.T) {
	var b bytes.Buffer
	p := &progress{out: &b}
	for _, s := range steps {
		p.say(s)
	}
	p.end()
	want := "fencing host3 … 48s left\nfencing host3 … cut off by 2 of 2 peers\n524288 IPs taken over from host3\n"
	if b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
}

func TestProgressOnATerminal(t *testing.T) {
	var b bytes.Buffer
	p := &progress{out: &b, terminal: true}
	for _, s := range steps {
		p.say(s)
	}
	p.end()
	const line = "\r\x1b[K"
	want := line + "fencing host3 … 48s left" + line + "fencing host3 … 47s left" + line + "fencing host3 … cut off by 2 of 2 peers\n524288 IPs taken over from host3\n"
	if b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
}

// What goes wrong comes with what to do about it.
func TestExplain(t *testing.T) {
	peers := schema.GroupResource{Group: "net.selvage.dev", Resource: "peers"}
	for want, err := range map[string]error{
		"--kubeconfig":                              clientcmd.ErrEmptyCluster,
		"this cluster has no":                       apierrors.NewGenericServerResponse(404, "get", schema.GroupResource{}, "", "404 page not found", 0, true),
		"selvage-view":                              fmt.Errorf("listing: %w", apierrors.NewForbidden(peers, "", errors.New("no right"))),
		"log in again":                              apierrors.NewUnauthorized("token expired"),
		"https://192.0.2.1:6443 does not answer":    &url.Error{Op: "Get", URL: "https://192.0.2.1:6443/apis?timeout=1", Err: errors.New("no route to host")},
		"peers.net.selvage.dev \"host3\" not found": apierrors.NewNotFound(peers, "host3"),
	} {
		if got := explain(err); !strings.Contains(got, want) {
			t.Errorf("explain(%v) = %q, want it to say %q", err, got, want)
		}
	}
}
