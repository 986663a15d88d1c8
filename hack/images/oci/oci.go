// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

// Package oci writes container images as OCI archives, without a registry and
// without a container engine: files on an empty base, for several platforms,
// the same bytes for the same input.
//
// An archive is the tar of an OCI image layout
// (https://github.com/opencontainers/image-spec/blob/main/image-layout.md),
// which `ctr images import`, `skopeo copy oci-archive:…`, `podman load` and
// `nerdctl load` read.
package oci

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Image is what is the same on every platform.
type Image struct {
	// Ref is the image's whole name, registry and tag included, such as
	// localhost/pause:1. A container runtime finds it under exactly that.
	Ref string
	// Created is what every file and the image are dated; zero: 1970.
	Created time.Time
	// Entrypoint, Cmd and User are the image's configuration.
	Entrypoint []string
	Cmd        []string
	User       string
	// Labels become labels of the image and annotations of the manifests.
	Labels map[string]string
}

// Platform is the image on one kind of machine.
type Platform struct {
	// Architecture is Go's name: amd64, arm64. The system is always Linux.
	Architecture string
	Files        []File
}

// File is one in the image. The folders above it are made.
type File struct {
	// Path is where it is in the image, such as /selvage.
	Path string
	// Source is where it is read from.
	Source string
	// Link, instead of Source, is what a symbolic link points at.
	Link string
	// Mode is its permissions; zero: 0755, as for a program. It is root's.
	Mode os.FileMode
}

// What container engines look for in an archive, to know an image's name.
const (
	// containerdName is containerd's for the whole name.
	containerdName = "io.containerd.image.name"
	// refName is the tag alone, as the image specification recommends.
	refName = "org.opencontainers.image.ref.name"
)

// Write writes an archive with an index of all platforms, and returns the
// index's digest. The archive appears whole, or not at all.
func Write(path string, image Image, platforms []Platform) (v1.Hash, error) {
	index, err := build(image, platforms)
	if err != nil {
		return v1.Hash{}, fmt.Errorf("making image %s: %w", image.Ref, err)
	}
	digest, err := index.Digest()
	if err != nil {
		return v1.Hash{}, fmt.Errorf("making image %s: %w", image.Ref, err)
	}
	if err := writeArchive(path, image, index); err != nil {
		return v1.Hash{}, fmt.Errorf("writing image %s to %s: %w", image.Ref, path, err)
	}
	return digest, nil
}

func build(image Image, platforms []Platform) (v1.ImageIndex, error) {
	if _, _, err := splitRef(image.Ref); err != nil {
		return nil, err
	}
	if len(platforms) == 0 {
		return nil, errors.New("it has no platforms")
	}
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, p := range platforms {
		one, err := buildOne(image, p)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.Architecture, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        one,
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: p.Architecture}},
		})
	}
	annotated, ok := mutate.Annotations(index, image.Labels).(v1.ImageIndex)
	if !ok {
		return nil, errors.New("an annotated index is no index")
	}
	return annotated, nil
}

func buildOne(image Image, p Platform) (v1.Image, error) {
	layer, err := newLayer(p.Files, image.created())
	if err != nil {
		return nil, err
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	one, err := mutate.Append(base, mutate.Addendum{
		Layer:   layer,
		History: v1.History{Created: v1.Time{Time: image.created()}, CreatedBy: "hack/images"},
	})
	if err != nil {
		return nil, err
	}
	config, err := one.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", p.Architecture
	config.Created = v1.Time{Time: image.created()}
	config.Config = v1.Config{Entrypoint: image.Entrypoint, Cmd: image.Cmd, User: image.User, WorkingDir: "/", Labels: image.Labels}
	if one, err = mutate.ConfigFile(one, config); err != nil {
		return nil, err
	}
	annotated, ok := mutate.Annotations(one, image.Labels).(v1.Image)
	if !ok {
		return nil, errors.New("an annotated image is no image")
	}
	return annotated, nil
}

func (i Image) created() time.Time {
	if i.Created.IsZero() {
		return time.Unix(0, 0).UTC()
	}
	return i.Created.UTC()
}

// splitRef wants a name that no engine completes by itself: one without a
// registry would be taken for somebody else's, on a public one.
func splitRef(ref string) (repository, tag string, err error) {
	cut := strings.LastIndex(ref, ":")
	if cut < 0 || strings.Contains(ref[cut:], "/") {
		return "", "", fmt.Errorf("%q has no tag: say %s:TAG", ref, ref)
	}
	repository, tag = ref[:cut], ref[cut+1:]
	host, _, found := strings.Cut(repository, "/")
	if !found || (host != "localhost" && !strings.ContainsAny(host, ".:")) {
		return "", "", fmt.Errorf("%q names no registry: container engines would complete it; say localhost/%s", ref, ref)
	}
	return repository, tag, nil
}

func writeArchive(path string, image Image, index v1.ImageIndex) (err error) {
	scratch, err := os.MkdirTemp(filepath.Dir(path), ".oci-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	_, tag, err := splitRef(image.Ref)
	if err != nil {
		return err
	}
	dir := filepath.Join(scratch, "layout")
	at, err := layout.Write(dir, mutate.IndexMediaType(empty.Index, types.OCIImageIndex))
	if err != nil {
		return err
	}
	names := layout.WithAnnotations(map[string]string{containerdName: image.Ref, refName: tag})
	if err := at.AppendIndex(index, names); err != nil {
		return err
	}
	archive := filepath.Join(scratch, "archive")
	if err := tarFolder(archive, dir, image.created()); err != nil {
		return err
	}
	return os.Rename(archive, path)
}
