// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// origin is where an image comes from. Nothing else of the moment or of the
// machine goes into it.
type origin struct {
	version, revision string
	date              time.Time
}

// origin is the flags' and the environment's word, else git's.
func (o *order) origin(ctx context.Context) (origin, error) {
	from := origin{version: o.version, revision: o.revision}
	ask := func(into *string, args ...string) error {
		if *into != "" {
			return nil
		}
		said, err := git(ctx, o.source, args...)
		*into = said
		return err
	}
	dirty, date := "", o.epoch
	err := errors.Join(
		ask(&date, "log", "-1", "--format=%ct"),
		ask(&from.version, "describe", "--tags", "--always", "--dirty"),
		ask(&from.revision, "rev-parse", "HEAD"),
	)
	if err != nil {
		return origin{}, fmt.Errorf("%w\nwithout git, say --version, --revision and SOURCE_DATE_EPOCH", err)
	}
	if o.revision == "" {
		if dirty, err = git(ctx, o.source, "status", "--porcelain"); err != nil {
			return origin{}, err
		}
		if dirty != "" {
			from.revision += "-dirty"
		}
	}
	seconds, err := strconv.ParseInt(date, 10, 64)
	if err != nil {
		return origin{}, fmt.Errorf("SOURCE_DATE_EPOCH=%s is no number of seconds since 1970", date)
	}
	from.date = time.Unix(seconds, 0).UTC()
	return from, nil
}

func git(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = dir
	out, stderr := &bytes.Buffer{}, &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = out, stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("git %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return strings.TrimSpace(out.String()), nil
}

// compile builds all programs for one architecture, statically. What could
// differ from one machine to the next is fixed: paths, git's state, the
// architectures' levels, experiments.
func compile(ctx context.Context, source, out, architecture, version string) error {
	out, err := filepath.Abs(out)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	args := buildArguments(out+"/", version)
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = source
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+architecture, "CGO_ENABLED=0",
		"GOAMD64=v1", "GOARM64=v8.0", "GOEXPERIMENT=", "GOFLAGS=", "GOWORK=off")
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building for linux/%s in %s: %w\n%s", architecture, source, err, said)
	}
	return nil
}

func buildArguments(out, version string) []string {
	args := []string{"build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -X main.version=" + version, "-o", out}
	for _, program := range programs() {
		args = append(args, "./cmd/"+program)
	}
	return args
}
