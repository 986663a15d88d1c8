// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"io"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// FuzzCommandLine: whatever is typed is a command with flags and arguments
// that it takes, or is refused with words, before anything is asked of a
// cluster.
func FuzzCommandLine(f *testing.F) {
	for _, seed := range []string{
		"status", "status ipam -o json", "rmpeer host3 --heir host1 --wait --timeout 5m", "rmpeer", "cancel a b", "check --timeout=-1s",
		"rmpeer host3 --heir=", "--context x status", "completion bash", "help rmpeer", "rmpeer -- --heir", "status --output=", "rm",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		streams := genericiooptions.IOStreams{In: strings.NewReader(""), Out: io.Discard, ErrOut: io.Discard}
		s := &session{IOStreams: streams, version: "test", config: configFlags()}
		root := s.root()
		root.SetOut(io.Discard)
		root.SetErr(io.Discard)
		cmd, rest, err := root.Find(strings.Fields(line))
		if err == nil {
			err = cmd.ParseFlags(rest)
		}
		if err == nil {
			err = cmd.ValidateArgs(cmd.Flags().Args())
		}
		if err == nil {
			err = cmd.ValidateRequiredFlags()
		}
		switch {
		case err == nil:
			cmd.Flags().Visit(func(flag *pflag.Flag) { _ = flag.Value.String() })
		case explain(err) == "":
			t.Errorf("%q is refused without a word", line)
		case s.fail(cmd, err) == ExitOK:
			t.Errorf("%q is refused, and exits with 0: %v", line, err)
		}
	})
}
