// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"archive/tar"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

func program(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Neither the order of what it is given, nor the source's mode and date, nor
// the moment of writing show in an archive.
func TestWriteIsReproducible(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, files ...File) string {
		path := filepath.Join(dir, name)
		image := Image{Ref: "localhost/pause:1", Created: time.Unix(1700000000, 0), Labels: map[string]string{"b": "2", "a": "1"}}
		if _, err := Write(path, image, []Platform{{Architecture: "amd64", Files: files}}); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	a, b := program(t, "a"), program(t, "b")
	first := write("first", File{Path: "/bin/a", Source: a}, File{Path: "/bin/b", Source: b})
	if err := os.Chtimes(a, time.Unix(1, 0), time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(a, 0o700); err != nil {
		t.Fatal(err)
	}
	if second := write("second", File{Path: "/bin/b", Source: b}, File{Path: "/bin/a", Source: a}); second != first {
		t.Error("the same image was written differently")
	}
	if third := write("third", File{Path: "/bin/a", Source: b}, File{Path: "/bin/b", Source: b}); third == first {
		t.Error("another image was written the same")
	}
}

func TestWriteRefuses(t *testing.T) {
	good := File{Path: "/a", Source: program(t, "a")}
	for name, c := range map[string]struct {
		ref   string
		files []File
		says  string
	}{
		"no tag":              {"localhost/pause", []File{good}, "has no tag"},
		"a port, and no tag":  {"localhost:5000/pause", []File{good}, "has no tag"},
		"no registry":         {"pause:1", []File{good}, "names no registry"},
		"no registry either":  {"library/pause:1", []File{good}, "names no registry"},
		"a relative path":     {"localhost/pause:1", []File{{Path: "a", Source: good.Source}}, "no clean absolute path"},
		"a path that climbs":  {"localhost/pause:1", []File{{Path: "/x/../a", Source: good.Source}}, "no clean absolute path"},
		"the same path twice": {"localhost/pause:1", []File{good, good}, "in it twice"},
		"a missing file":      {"localhost/pause:1", []File{{Path: "/a", Source: good.Source + "-not"}}, "no such file"},
		"a folder":            {"localhost/pause:1", []File{{Path: "/a", Source: filepath.Dir(good.Source)}}, "not a regular file"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			_, err := Write(filepath.Join(dir, "image.tar"), Image{Ref: c.ref}, []Platform{{Architecture: "amd64", Files: c.files}})
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v, want one that says %q", err, c.says)
			}
			left, err := os.ReadDir(dir)
			if err != nil || len(left) > 0 {
				t.Errorf("left over: %v %v", left, err)
			}
		})
	}
	if _, err := Write(filepath.Join(t.TempDir(), "image.tar"), Image{Ref: "localhost/pause:1"}, nil); err == nil {
		t.Error("an image for no platform was written")
	}
}

// Links and the command come out as they went in.
func TestWriteLinksAndCommand(t *testing.T) {
	image := Image{Ref: "localhost/tools:1", Entrypoint: []string{"/tool"}, Cmd: []string{"wait"}}
	one, err := buildOne(image, Platform{Architecture: "amd64", Files: []File{
		{Path: "/tool", Source: program(t, "a")}, {Path: "/bin/other", Link: "../tool"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	config, err := one.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(config.Config.Cmd, image.Cmd) {
		t.Errorf("command %v, want %v", config.Config.Cmd, image.Cmd)
	}
	content := mutate.Extract(one)
	defer content.Close()
	links := map[string]string{}
	for reader := tar.NewReader(content); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if header.Typeflag == tar.TypeSymlink {
			links[header.Name] = header.Linkname
		}
	}
	if want := map[string]string{"bin/other": "../tool"}; !maps.Equal(links, want) {
		t.Errorf("links %v, want %v", links, want)
	}
}
