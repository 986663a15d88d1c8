// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package agent

import (
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/selvage-net/selvage/test/e2e/await"
)

// record writes down what the programs serve in TestWithController: what
// test/monitoring evaluates the dashboard over. Run it where metrics change:
// go test ./test/e2e/agent -run '^TestWithController$' -record
var record = flag.Bool("record", false, "write the metrics served to test/monitoring/testdata/recording")

const recordings = "../../monitoring/testdata/recording"

// recorder scrapes the controller and some agents at some moments.
type recorder struct {
	t          *testing.T
	controller string
	machines   []*machine
	moments    int
}

func newRecorder(t *testing.T, controller string, machines ...*machine) *recorder {
	t.Helper()
	if *record {
		if err := os.RemoveAll(recordings); err != nil {
			t.Fatal(err)
		}
	}
	return &recorder{t: t, controller: controller, machines: machines}
}

// recorded are the metrics that are kept: Selvage's own, and those of the
// libraries that the dashboard shows.
var recorded = regexp.MustCompile(`^(# (HELP|TYPE) )?(selvage_|controller_runtime_reconcile_total|process_resident_memory_bytes)`)

// moment waits until the controller serves those words, and none that "no "
// stands before, and keeps what it and the agents that run serve then.
func (r *recorder) moment(name string, words ...string) {
	r.t.Helper()
	var served string
	await.Until(r.t, "the controller's metrics to show "+name, func() (err error) {
		if served, err = scrape("http://" + r.controller + "/metrics"); err != nil {
			return err
		}
		for _, word := range words {
			bare, absent := strings.CutPrefix(word, "no ")
			if strings.Contains(served, bare) == absent {
				return fmt.Errorf("not yet %q among:\n%s", word, kept(served))
			}
		}
		return nil
	})
	r.moments++
	dir := filepath.Join(recordings, fmt.Sprintf("%d-%s", r.moments, strings.ReplaceAll(name, " ", "-")))
	r.keep(dir, "controller", served)
	for i, m := range r.machines {
		if !m.process.Running() {
			continue
		}
		served, err := m.scrape()
		if err != nil {
			r.t.Fatalf("the metrics of %s: %v", m.node, err)
		}
		r.keep(dir, fmt.Sprintf("agent%d", i+1), served)
	}
}

func (r *recorder) keep(dir, program, served string) {
	r.t.Helper()
	text := kept(served)
	if !strings.Contains(text, "selvage_") {
		r.t.Fatalf("%s serves none of Selvage's metrics:\n%s", program, served)
	}
	if !*record {
		return
	}
	// Under names that are the same each time.
	for i, m := range r.machines {
		text = strings.ReplaceAll(text, `"`+m.node+`"`, fmt.Sprintf(`"host%d"`, i+1))
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, program+".prom"), []byte(text), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

func kept(served string) string {
	var out strings.Builder
	for line := range strings.Lines(served) {
		if recorded.MatchString(line) {
			out.WriteString(line)
		}
	}
	return out.String()
}

func scrape(url string) (string, error) {
	response, err := http.Get(url)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return string(body), err
}

// scrape is what the agent serves, asked for on its own machine.
func (m *machine) scrape() (string, error) {
	var body []byte
	err := m.Do(func() error {
		conn, err := net.Dial("tcp", m.metrics().String())
		if err != nil {
			return err
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, "GET /metrics HTTP/1.0\r\n\r\n"); err != nil {
			return err
		}
		body, err = io.ReadAll(conn)
		return err
	})
	return string(body), err
}

// freePort is an address of this host that nobody listens at.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
