// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/selvage-net/selvage/node-agent/diagnosis"
)

// doctor runs it as the command line does; nothing of Selvage's is here, and
// so no peer is asked.
func doctor(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	root := newCommand()
	root.SetOut(&out)
	root.SetArgs(append([]string{"doctor", "--node-name=host1", "--run-dir=" + t.TempDir()}, args...))
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

func TestDoctor(t *testing.T) {
	text, err := doctor(t)
	if !errors.Is(err, errUnwell) || !strings.Contains(text, "no agent answers here") || !strings.Contains(text, "    do: ") {
		t.Errorf("%v\n%s", err, text)
	}
	document, err := doctor(t, "-o", "json")
	var r diagnosis.Report
	if jerr := json.Unmarshal([]byte(document), &r); jerr != nil || !errors.Is(err, errUnwell) || r.Subject != "node/host1" || len(r.Results) < 10 {
		t.Errorf("%v %v\n%s", err, jerr, document)
	}
	if _, err := doctor(t, "-o", "xml"); err == nil || errors.Is(err, errUnwell) {
		t.Errorf("-o xml: %v", err)
	}
}

func TestHealthPort(t *testing.T) {
	for address, want := range map[string]int{":9784": 9784, "127.0.0.1:1": 1, "0": 0, "": 0, ":health": 0} {
		if got := healthPort(address); got != want {
			t.Errorf("%q: %d, want %d", address, got, want)
		}
	}
}
