// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package web

import (
	"fmt"
	"html"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// launchers are the commands that open a file in a person's browser.
var launchers = map[string][]string{
	"darwin":  {"open"},
	"windows": {"rundll32", "url.dll,FileProtocolHandler"},
}

// Launcher is the command that opens a browser here, or nil.
func Launcher() []string {
	command := launchers[runtime.GOOS]
	if command == nil {
		command = []string{"xdg-open"} // freedesktop.org's
	}
	if _, err := exec.LookPath(command[0]); err != nil {
		return nil
	}
	return command
}

// Signpost writes a file that leads a browser to the page, and returns it and
// what deletes it. A command line can be read by everybody on a machine, and
// the address is a secret; the file is its owner's alone.
func Signpost(url string) (path string, remove func(), err error) {
	dir, err := os.MkdirTemp("", "kubectl-selvage-") // of mode 0700
	if err != nil {
		return "", nil, err
	}
	remove = func() { _ = os.RemoveAll(dir) }
	path = filepath.Join(dir, "open.html")
	text := fmt.Sprintf("<!doctype html><meta charset=utf-8><meta name=referrer content=no-referrer>"+
		"<meta http-equiv=refresh content=\"0;url=%s\"><title>Selvage</title>", html.EscapeString(url))
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		remove()
		return "", nil, err
	}
	return path, remove, nil
}

// Open opens a file with a launcher, and does not wait for the browser's end.
func Open(launcher []string, path string) error {
	cmd := exec.Command(launcher[0], append(launcher[1:len(launcher):len(launcher)], path)...)
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() { _ = cmd.Wait() }() // it may be the browser itself
	return nil
}
