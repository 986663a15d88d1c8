// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A controller that starts while the API server does not answer waits for it,
// and is alive meanwhile.
func TestWaitsForTheAPIServer(t *testing.T) {
	health := free(t)
	config := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`{apiVersion: v1, kind: Config, current-context: c,
contexts: [{name: c, context: {cluster: c, user: u}}],
clusters: [{name: c, cluster: {server: "https://%s"}}], users: [{name: u, user: {}}]}`, free(t))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	root := newCommand()
	root.SetArgs([]string{"--kubeconfig=" + config, "--leader-elect", "--metrics-bind-address=0", "--health-probe-bind-address=" + health})
	ended := make(chan error, 1)
	go func() { ended <- root.ExecuteContext(ctx) }()

	deadline := time.After(30 * time.Second)
	for alive := false; !alive; {
		response, err := http.Get("http://" + health + "/healthz")
		if err == nil {
			alive = response.StatusCode == http.StatusOK
			response.Body.Close()
		}
		select {
		case err := <-ended:
			t.Fatalf("it did not wait: %v", err)
		case <-deadline:
			t.Fatalf("it is not alive: %v", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("told to end, it said: %v", err)
	}
}

// free is an address where nobody listens.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
