// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package images

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/selvage-net/selvage/hack/images/oci"
)

// debian puts root filesystems together from Debian packages, without root and
// without running anything of them.
type debian struct {
	cache string
}

// files are those of the packages and of all that they depend on.
func (d debian) files(ctx context.Context, packages []string) ([]oci.File, error) {
	archives, err := d.download(ctx, packages)
	if err != nil {
		return nil, err
	}
	found := map[string]oci.File{}
	for _, archive := range archives {
		tree, err := d.unpack(ctx, archive)
		if err != nil {
			return nil, err
		}
		if err := collect(tree, found); err != nil {
			return nil, err
		}
	}
	files := make([]oci.File, 0, len(found))
	for _, file := range found {
		files = append(files, file)
	}
	return files, nil
}

// download lets apt choose, as for a machine that has nothing yet, and fetch
// what the cache lacks. Apt checks the archives' signatures.
func (d debian) download(ctx context.Context, packages []string) ([]string, error) {
	archives := filepath.Join(d.cache, "archives")
	if err := os.MkdirAll(filepath.Join(archives, "partial"), 0o755); err != nil {
		return nil, fmt.Errorf("making the cache of packages: %w", err)
	}
	status := filepath.Join(d.cache, "status")
	if err := os.WriteFile(status, nil, 0o644); err != nil {
		return nil, fmt.Errorf("describing an empty machine to apt: %w", err)
	}
	install := append([]string{
		"-o", "Dir::State::status=" + status, "-o", "Dir::Cache::archives=" + archives + "/", "-o", "Debug::NoLocking=1",
		"-q", "-y", "--no-install-recommends", "install",
	}, packages...)
	if _, err := run(ctx, "apt-get", append([]string{"--download-only"}, install...)...); err != nil {
		return nil, fmt.Errorf("downloading %s: %w\nif apt's lists are old or missing: apt-get update", strings.Join(packages, ", "), err)
	}
	plan, err := run(ctx, "apt-get", append([]string{"--simulate"}, install...)...)
	if err != nil {
		return nil, fmt.Errorf("asking apt what belongs to %s: %w", strings.Join(packages, ", "), err)
	}
	return planned(plan, archives)
}

// installs matches "Inst libc6 (2.36-9 Debian:12/stable [amd64]) [libgcc-s1]".
var installs = regexp.MustCompile(`(?m)^Inst (\S+) \((\S+) [^\[)]*\[(\w+)\]\)`)

// planned are the archives of what apt would install.
func planned(plan, archives string) ([]string, error) {
	var paths []string
	for _, m := range installs.FindAllStringSubmatch(plan, -1) {
		name := fmt.Sprintf("%s_%s_%s.deb", m[1], strings.ReplaceAll(m[2], ":", "%3a"), m[3])
		path := filepath.Join(archives, name)
		if _, err := os.Stat(path); err != nil {
			return nil, fmt.Errorf("apt has not downloaded what it said it would: %w", err)
		}
		paths = append(paths, path)
	}
	if want := strings.Count("\n"+plan, "\nInst "); len(paths) != want || want == 0 {
		return nil, fmt.Errorf("understood %d of the %d packages that apt would install:\n%s", len(paths), want, plan)
	}
	return paths, nil
}

// unpack returns the folder with an archive's content.
func (d debian) unpack(ctx context.Context, archive string) (string, error) {
	tree := filepath.Join(d.cache, "trees", strings.TrimSuffix(filepath.Base(archive), ".deb"))
	if _, err := os.Stat(tree); err == nil {
		return tree, nil
	}
	scratch := tree + ".unpacking"
	if err := errors.Join(os.RemoveAll(scratch), os.MkdirAll(scratch, 0o755)); err != nil {
		return "", fmt.Errorf("unpacking %s: %w", archive, err)
	}
	if _, err := run(ctx, "dpkg-deb", "--extract", archive, scratch); err != nil {
		return "", fmt.Errorf("unpacking %s: %w", archive, err)
	}
	return tree, os.Rename(scratch, tree)
}

// unused are folders that no program here reads.
var unused = []string{"/usr/share/doc", "/usr/share/man", "/usr/share/locale", "/usr/share/info", "/usr/share/lintian", "/usr/lib/systemd"}

// collect adds a tree's files and links.
func collect(tree string, found map[string]oci.File) error {
	return filepath.WalkDir(tree, func(source string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		path := strings.TrimPrefix(source, tree)
		if entry.IsDir() {
			if slices.Contains(unused, path) {
				return filepath.SkipDir
			}
			return nil
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		file := oci.File{Path: path, Source: source, Mode: info.Mode().Perm()}
		if info.Mode()&fs.ModeSymlink != 0 {
			if file.Link, err = os.Readlink(source); err != nil {
				return err
			}
			file.Source = ""
		}
		found[path] = file
		return nil
	})
}

func run(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	out, stderr := &bytes.Buffer{}, &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = out, stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", name, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out.String(), nil
}
