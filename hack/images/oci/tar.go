// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// newLayer packs files, sorted, with the folders above them, all root's and
// of one date: nothing of the machine that packs them shows.
func newLayer(files []File, created time.Time) (v1.Layer, error) {
	var packed bytes.Buffer
	w := tar.NewWriter(&packed)
	made := map[string]bool{"/": true}
	files = slices.Clone(files)
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	for _, f := range files {
		if !path.IsAbs(f.Path) || path.Clean(f.Path) != f.Path {
			return nil, fmt.Errorf("%q is no clean absolute path", f.Path)
		}
		if made[f.Path] {
			return nil, fmt.Errorf("%s is in it twice", f.Path)
		}
		if err := addFolders(w, made, path.Dir(f.Path), created); err != nil {
			return nil, err
		}
		made[f.Path] = true
		if err := addFile(w, f, created); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	opener := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(packed.Bytes())), nil }
	return tarball.LayerFromOpener(opener, tarball.WithMediaType(types.OCILayer))
}

func addFolders(w *tar.Writer, made map[string]bool, dir string, created time.Time) error {
	if made[dir] {
		return nil
	}
	if err := addFolders(w, made, path.Dir(dir), created); err != nil {
		return err
	}
	made[dir] = true
	return w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: strings.TrimPrefix(dir, "/") + "/", Mode: 0o755, ModTime: created})
}

func addFile(w *tar.Writer, f File, created time.Time) error {
	if f.Link != "" {
		return w.WriteHeader(&tar.Header{
			Typeflag: tar.TypeSymlink, Name: strings.TrimPrefix(f.Path, "/"), Linkname: f.Link, Mode: 0o777, ModTime: created,
		})
	}
	mode := f.Mode
	if mode == 0 {
		mode = 0o755
	}
	return addFrom(w, f.Source, strings.TrimPrefix(f.Path, "/"), mode, created)
}

func addFrom(w *tar.Writer, source, name string, mode os.FileMode, created time.Time) (err error) {
	in, err := os.Open(source)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", source)
	}
	header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: info.Size(), Mode: int64(mode.Perm()), ModTime: created}
	if err := w.WriteHeader(header); err != nil {
		return err
	}
	_, err = io.Copy(w, in)
	return err
}

// tarFolder packs an image layout, oci-layout and index.json first, so that a
// reader need not seek.
func tarFolder(archive, dir string, created time.Time) (err error) {
	var names []string
	err = filepath.WalkDir(dir, func(at string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, at)
		names = append(names, filepath.ToSlash(name))
		return err
	})
	if err != nil {
		return err
	}
	slices.SortFunc(names, func(a, b string) int {
		if rank(a) != rank(b) {
			return rank(a) - rank(b)
		}
		return strings.Compare(a, b)
	})
	out, err := os.Create(archive)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	w := tar.NewWriter(out)
	for _, name := range names {
		if err := addFrom(w, filepath.Join(dir, name), name, 0o644, created); err != nil {
			return err
		}
	}
	return w.Close()
}

func rank(name string) int {
	switch name {
	case "oci-layout":
		return 0
	case "index.json":
		return 1
	}
	return 2
}
