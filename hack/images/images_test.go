// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// The same sources give the same digests, from whichever folder they are
// built; and what is built is what the manifests run.
func TestImages(t *testing.T) {
	first, second := copySources(t), copySources(t)
	said := buildIn(t, first)
	if again := buildIn(t, second); again != said {
		t.Errorf("two builds of the same sources differ:\n%s\n%s", said, again)
	}
	for _, r := range recipes {
		archive := filepath.Join("bin", "images", r.name+".tar")
		a, b := read(t, filepath.Join(first, archive)), read(t, filepath.Join(second, archive))
		if !bytes.Equal(a, b) {
			t.Errorf("the archives of %s differ", r.name)
		}
		t.Run(r.name, func(t *testing.T) { inspect(t, r, unpack(t, bytes.NewReader(a))) })
	}
}

const (
	testVersion  = "v1.2.3"
	testRevision = "0123456789abcdef0123456789abcdef01234567"
)

func buildIn(t *testing.T, source string) string {
	t.Helper()
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	t.Chdir(source)
	cmd := newCommand()
	out := &bytes.Buffer{}
	cmd.SetOut(out)
	cmd.SetArgs([]string{"--version", testVersion, "--revision", testRevision})
	if err := cmd.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// copySources copies what git knows of, as it is now.
func copySources(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	top := strings.TrimSpace(output(t, "git", "rev-parse", "--show-toplevel"))
	files := output(t, "git", "-C", top, "ls-files", "-z", "--cached", "--others", "--exclude-standard",
		"go.mod", "go.sum", "api", "cmd", "controllers", "node-agent", "config/default")
	for _, name := range strings.Split(strings.Trim(files, "\x00"), "\x00") {
		data, err := os.ReadFile(filepath.Join(top, name))
		if errors.Is(err, os.ErrNotExist) {
			continue // deleted, and not yet committed
		}
		if err == nil {
			err = os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), data, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func inspect(t *testing.T, r recipe, dir string) {
	top, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	names, err := top.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(names.Manifests) != 1 {
		t.Fatalf("the archive has %d images", len(names.Manifests))
	}
	ref := "localhost/" + r.name + ":dev"
	if got := names.Manifests[0].Annotations["io.containerd.image.name"]; got != ref {
		t.Errorf("its name is %q, not %q", got, ref)
	}
	index, err := top.ImageIndex(names.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	var platforms []string
	for _, m := range manifest.Manifests {
		platforms = append(platforms, m.Platform.String())
		image, err := index.Image(m.Digest)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(m.Platform.Architecture, func(t *testing.T) { inspectOne(t, r, image, m.Platform.Architecture) })
	}
	if want := []string{"linux/amd64", "linux/arm64"}; !slices.Equal(platforms, want) {
		t.Errorf("platforms %v, want %v", platforms, want)
	}
	if got := manifest.Annotations["org.opencontainers.image.revision"]; got != testRevision {
		t.Errorf("the index is annotated with revision %q", got)
	}
}

func inspectOne(t *testing.T, r recipe, image v1.Image, architecture string) {
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.OS != "linux" || config.Architecture != architecture {
		t.Errorf("its configuration says %s/%s", config.OS, config.Architecture)
	}
	if config.Config.User != r.user || !slices.Equal(config.Config.Entrypoint, r.entrypoint()) {
		t.Errorf("it runs %v as %s", config.Config.Entrypoint, config.Config.User)
	}
	const labels = "org.opencontainers.image."
	for key, want := range map[string]string{
		"version": testVersion, "revision": testRevision, "title": r.title, "licenses": "Apache-2.0",
		"created": "2023-11-14T22:13:20Z", "source": "https://github.com/selvage-net/selvage",
	} {
		if got := config.Config.Labels[labels+key]; got != want {
			t.Errorf("label %s is %q, want %q", key, got, want)
		}
	}
	if created := config.Created.UTC().Unix(); created != 1700000000 {
		t.Errorf("it was created at %d", created)
	}
	want := slices.Sorted(slices.Values(r.programs))
	files := programsIn(t, image)
	if got := slices.Sorted(maps.Keys(files)); !slices.Equal(got, want) {
		t.Errorf("it holds %v, want %v", got, want)
	}
	for name, data := range files {
		if err := static(data, architecture); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !bytes.Contains(data, []byte(testVersion)) {
			t.Errorf("%s does not know its version", name)
		}
	}
}

// programsIn are the files of an image; all of them are programs, and root's.
func programsIn(t *testing.T, image v1.Image) map[string][]byte {
	t.Helper()
	layers, err := image.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%d layers: %v", len(layers), err)
	}
	content, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	files := map[string][]byte{}
	reader := tar.NewReader(content)
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if header.Mode != 0o755 || header.Uid != 0 || header.Gid != 0 || header.ModTime.Unix() != 1700000000 {
			t.Errorf("%s: mode %o, owner %d:%d, date %s", header.Name, header.Mode, header.Uid, header.Gid, header.ModTime)
		}
		if files[header.Name], err = io.ReadAll(reader); err != nil {
			t.Fatal(err)
		}
	}
}

// static says what is wrong with a program that is to run on an empty base.
func static(data []byte, architecture string) error {
	file, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return err
	}
	want := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[architecture]
	if file.Machine != want {
		return fmt.Errorf("it is for %s, not %s", file.Machine, want)
	}
	for _, p := range file.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			return fmt.Errorf("it is linked dynamically (%s)", p.Type)
		}
	}
	return nil
}

func unpack(t *testing.T, archive io.Reader) string {
	t.Helper()
	dir := t.TempDir()
	reader := tar.NewReader(archive)
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return dir
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, header.Name)
		data, err := io.ReadAll(reader)
		if err == nil {
			err = os.MkdirAll(filepath.Dir(path), 0o755)
		}
		if err == nil {
			err = os.WriteFile(path, data, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).Output()
	if err != nil {
		t.Fatalf("%s %s: %v", name, strings.Join(args, " "), err)
	}
	return string(out)
}
