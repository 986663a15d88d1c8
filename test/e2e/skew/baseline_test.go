// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package skew

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/selvage-net/selvage/hack/cluster/controlplane"
)

// version is a version of Selvage: its source tree, and its programs.
type version struct {
	name, source, bin string
}

// errNoHistory answers "does this clone lack what came before?".
var errNoHistory = errors.New("it is not in this clone, which is shallow, or no clone at all")

var fullCommit = regexp.MustCompile(`^[0-9a-f]{40}$`)

// baseline reads which commit the version before is.
func baseline(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	commit := ""
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case commit != "" || !fullCommit.MatchString(line):
			return "", fmt.Errorf("%s: %q: one full commit is wanted", path, line)
		default:
			commit = line
		}
	}
	if commit == "" {
		return "", fmt.Errorf("%s names no commit", path)
	}
	return commit, nil
}

// extract unpacks a commit's tree into a folder.
func extract(ctx context.Context, repository, commit, into string) error {
	if err := run(ctx, repository, "git", "cat-file", "-e", commit+"^{commit}"); err != nil {
		if whole(ctx, repository) {
			return fmt.Errorf("there is no commit %s in the whole history: name another in testdata/baseline", commit)
		}
		return fmt.Errorf("commit %s: %w", commit, errNoHistory)
	}
	archive := filepath.Join(into, "..", "archive-"+commit+".tar")
	defer os.Remove(archive)
	if err := run(ctx, repository, "git", "archive", "--output="+archive, commit); err != nil {
		return err
	}
	return run(ctx, into, "tar", "-xf", archive)
}

// whole says whether this is a clone with all its history.
func whole(ctx context.Context, repository string) bool {
	cmd := exec.CommandContext(ctx, "git", "rev-parse", "--is-shallow-repository")
	cmd.Dir = repository
	said, err := cmd.Output()
	return err == nil && strings.TrimSpace(string(said)) == "false"
}

// build builds a source tree's programs.
func (v *version) build(ctx context.Context) error {
	if err := run(ctx, v.source, "go", "build", "-buildvcs=false", "-o", v.bin+"/",
		"./cmd/selvage-controller", "./cmd/selvage-agent", "./cmd/selvage", "./cmd/kubectl-selvage"); err != nil {
		return fmt.Errorf("building the %s version: %w", v.name, err)
	}
	return nil
}

func run(ctx context.Context, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, said)
	}
	return nil
}

// find makes both versions' trees: the one before below dir, and this one.
func find(ctx context.Context, dir string) (before, now *version, err error) {
	here, err := controlplane.SourceDir()
	if err != nil {
		return nil, nil, err
	}
	commit, err := baseline(filepath.Join(here, "test", "e2e", "skew", "testdata", "baseline"))
	if err != nil {
		return nil, nil, err
	}
	before = &version{name: "old", source: filepath.Join(dir, "old"), bin: filepath.Join(dir, "bin-old")}
	now = &version{name: "new", source: here, bin: filepath.Join(dir, "bin-new")}
	if err := os.MkdirAll(before.source, 0o755); err != nil {
		return nil, nil, err
	}
	return before, now, extract(ctx, here, commit, before.source)
}
