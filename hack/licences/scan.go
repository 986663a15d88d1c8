// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/google/licensecheck"
)

// licence is one licence file of a module, whose packages it covers.
type licence struct {
	module, version string
	// file is the licence's path within the module.
	file string
	ids  []string
	// text is the file's, and that of a NOTICE beside it, which Apache-2.0
	// wants to go along (section 4d).
	text string
}

// listed is what go list says of a package.
type listed struct {
	ImportPath, Dir string
	Standard        bool
	Module          *struct {
		Path, Version, Dir string
		Main               bool
	}
}

// scan finds the licences of all that the programs are made of, but for what
// is in the main module.
func scan(ctx context.Context, patterns []string) ([]licence, error) {
	var packages []listed
	for _, architecture := range []string{"amd64", "arm64"} {
		some, err := list(ctx, architecture, patterns)
		if err != nil {
			return nil, err
		}
		packages = append(packages, some...)
	}
	found := map[string]licence{}
	var problems []error
	for _, p := range packages {
		if p.Standard || p.Module == nil || p.Module.Main {
			continue
		}
		path, err := nearest(p.Dir, p.Module.Dir)
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", p.ImportPath, err))
			continue
		}
		if _, known := found[path]; known {
			continue
		}
		l, err := read(path)
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", p.ImportPath, err))
		}
		l.module, l.version = p.Module.Path, p.Module.Version
		if l.file, err = filepath.Rel(p.Module.Dir, path); err != nil {
			return nil, err
		}
		found[path] = l
	}
	std, err := standard(ctx)
	if err != nil {
		problems = append(problems, err)
	}
	all := []licence{std}
	for _, l := range found {
		all = append(all, l)
	}
	slices.SortFunc(all, func(a, b licence) int {
		return cmp.Or(cmp.Compare(a.module, b.module), cmp.Compare(a.file, b.file))
	})
	return all, errors.Join(problems...)
}

// standard is Go's own licence: its runtime and standard library are compiled
// into every program. Which version, the program says itself (go version -m).
func standard(ctx context.Context) (licence, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return licence{}, fmt.Errorf("go env GOROOT: %w", err)
	}
	l, err := read(filepath.Join(strings.TrimSpace(string(out)), "LICENSE"))
	l.module, l.file = "Go: its runtime and standard library", "LICENSE"
	return l, err
}

// list asks go for all packages that the programs are made of.
func list(ctx context.Context, architecture string, patterns []string) ([]listed, error) {
	cmd := exec.CommandContext(ctx, "go", append([]string{"list", "-deps", "-json=ImportPath,Dir,Standard,Module"}, patterns...)...)
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+architecture, "CGO_ENABLED=0")
	stderr := &bytes.Buffer{}
	cmd.Stderr = stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w\n%s", err, stderr)
	}
	var packages []listed
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return packages, nil
		} else if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		packages = append(packages, p)
	}
}

var licenceFile = regexp.MustCompile(`(?i)^(un)?(licen[cs]e|copying)([.-].*)?$`)

// nearest is the licence file of the folder, or of the first folder above it
// that has one, up to the module's top: code that a module took over from
// others keeps its licence beside it.
func nearest(dir, top string) (string, error) {
	for ; ; dir = filepath.Dir(dir) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return "", err
		}
		for _, e := range entries {
			if !e.IsDir() && licenceFile.MatchString(e.Name()) && filepath.Ext(e.Name()) != ".go" {
				return filepath.Join(dir, e.Name()), nil
			}
		}
		if dir == top || len(dir) < len(top) {
			return "", fmt.Errorf("no licence file from its folder up to %s", top)
		}
	}
}

// recognised is how much of a licence file, in percent, has to be the words of
// known licences; pkg.go.dev asks for as much.
const recognised = 75

func read(path string) (licence, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return licence{}, err
	}
	notice, err := os.ReadFile(filepath.Join(filepath.Dir(path), "NOTICE"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return licence{}, err
	}
	l := licence{text: strings.TrimSpace(string(text) + "\n" + string(notice))}
	coverage := licensecheck.Scan(text)
	for _, m := range coverage.Match {
		if !slices.Contains(l.ids, m.ID) {
			l.ids = append(l.ids, m.ID)
		}
	}
	slices.Sort(l.ids)
	if coverage.Percent < recognised {
		return l, fmt.Errorf("%s: %.0f%% of it is a known licence (%s), %d%% have to be", path, coverage.Percent, strings.Join(l.ids, ", "), recognised)
	}
	for _, id := range l.ids {
		if !slices.Contains(allowed, id) {
			return l, fmt.Errorf("%s: %s is not among the licences that are allowed: %s", path, id, strings.Join(allowed, ", "))
		}
	}
	return l, nil
}
