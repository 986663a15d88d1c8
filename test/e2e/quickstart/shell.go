// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package quickstart

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// shell is a bash that is typed into, so that what a command exports, and the
// functions that it defines, are there for those that follow.
type shell struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// done is printed after each command, with how it ended.
const done = "----- ended with "

func newShell(ctx context.Context, dir string, env ...string) (*shell, error) {
	s := &shell{cmd: exec.CommandContext(ctx, "bash", "--noprofile", "--norc")}
	s.cmd.Dir, s.cmd.Env = dir, append(os.Environ(), env...)
	s.cmd.WaitDelay = 10 * time.Second
	var err error
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	s.cmd.Stderr = s.cmd.Stdout
	s.out = bufio.NewReader(out)
	return s, s.cmd.Start()
}

// typed is what a command prints, on either stream, and how it ends. It is
// given no standard input but its here-document.
func (s *shell) typed(command string) (printed string, code int, err error) {
	if _, err := fmt.Fprintf(s.in, "{ %s\n} </dev/null\nprintf '\\n%s%%d\\n' $?\n", command, done); err != nil {
		return "", 0, fmt.Errorf("the shell is gone: %w", err)
	}
	var all strings.Builder
	for {
		line, err := s.out.ReadString('\n')
		if text, ends := strings.CutPrefix(line, done); ends {
			code, err := strconv.Atoi(strings.TrimSpace(text))
			return strings.TrimSuffix(all.String(), "\n"), code, err
		}
		all.WriteString(line)
		if err != nil {
			return all.String(), 0, fmt.Errorf("the shell ended: %w", err)
		}
	}
}

// Close ends the shell.
func (s *shell) Close() error {
	s.in.Close()
	return s.cmd.Wait()
}
