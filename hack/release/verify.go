// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	slsa "github.com/in-toto/attestation/go/predicates/provenance/v1"
	intoto "github.com/in-toto/attestation/go/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// claims are what a statement says.
type claims struct {
	subjects, byproducts []*intoto.ResourceDescriptor
	// modules are those it was built from, with their checksums.
	modules         map[string]string
	commit, version string
	goVersion       string
}

// convert takes a message for another, by way of JSON.
func convert(from, to proto.Message) error {
	data, err := protojson.Marshal(from)
	if err != nil {
		return err
	}
	return protojson.Unmarshal(data, to)
}

func readStatement(path string) (claims, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return claims{}, err
	}
	statement := &intoto.Statement{}
	if err := protojson.Unmarshal(data, statement); err != nil {
		return claims{}, fmt.Errorf("%s is no in-toto statement: %w", path, err)
	}
	if err := statement.Validate(); err != nil {
		return claims{}, fmt.Errorf("%s: %w", path, err)
	}
	if statement.GetPredicateType() != predicateType {
		return claims{}, fmt.Errorf("%s is about something else: %s", path, statement.GetPredicateType())
	}
	provenance := &slsa.Provenance{}
	if err := convert(statement.GetPredicate(), provenance); err != nil {
		return claims{}, fmt.Errorf("%s: %w", path, err)
	}
	if err := provenance.Validate(); err != nil {
		return claims{}, fmt.Errorf("%s: %w", path, err)
	}
	definition := provenance.GetBuildDefinition()
	if definition.GetBuildType() != buildType {
		return claims{}, fmt.Errorf("%s: built in another way: %s", path, definition.GetBuildType())
	}
	c := claims{
		subjects: statement.GetSubject(), byproducts: provenance.GetRunDetails().GetByproducts(), modules: map[string]string{},
		version:   definition.GetExternalParameters().GetFields()["version"].GetStringValue(),
		goVersion: definition.GetInternalParameters().GetFields()["go"].GetStringValue(),
	}
	for _, d := range definition.GetResolvedDependencies() {
		if module, ok := strings.CutPrefix(d.GetUri(), "pkg:golang/"); ok {
			c.modules[module] = d.GetDigest()["dirHash"]
		} else if commit := d.GetDigest()["gitCommit"]; commit != "" {
			c.commit = commit
		}
	}
	return c, nil
}

func (r *release) verify(out io.Writer, commit string, names []string) error {
	c, err := readStatement(r.statement)
	if err != nil {
		return err
	}
	if commit != "" && commit != c.commit {
		return fmt.Errorf("the statement is about commit %s, not %s", c.commit, commit)
	}
	images, err := r.images()
	if err != nil {
		return err
	}
	var problems []error
	said := map[string]bool{}
	for _, d := range slices.Concat(c.subjects, c.byproducts) {
		said[d.GetName()] = true
		if len(names) > 0 && !slices.Contains(names, d.GetName()) {
			continue
		}
		if err := r.matches(d, images, c.modules); err != nil {
			problems = append(problems, err)
			continue
		}
		fmt.Fprintf(out, "ok  %s  %s\n", d.GetDigest()["sha256"], d.GetName())
	}
	for _, name := range names {
		if !said[name] {
			problems = append(problems, fmt.Errorf("the statement does not speak of %s, but of %s", name, strings.Join(slices.Sorted(maps.Keys(said)), ", ")))
		}
	}
	if err := errors.Join(problems...); err != nil {
		return err
	}
	fmt.Fprintf(out, "all of it is what the statement says: commit %s, %s\n", c.commit, c.goVersion)
	return nil
}

// matches compares one thing with what is said of it. Of images there is an
// archive, and what it holds.
func (r *release) matches(d *intoto.ResourceDescriptor, images, modules map[string]string) error {
	want := d.GetDigest()["sha256"]
	got, isImage := images[d.GetName()]
	path := filepath.Join(r.dir, filepath.FromSlash(d.GetName()))
	if !isImage {
		var err error
		if got, err = sha256Of(path); errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s is not here", d.GetName())
		} else if err != nil {
			return err
		}
	}
	if want == "" || got != want {
		return fmt.Errorf("%s: its sha256 is %s, and the statement says %s", d.GetName(), got, want)
	}
	if isImage || strings.Contains(d.GetName(), "/") {
		return nil
	}
	inside, err := modulesIn(path)
	if err != nil {
		return err
	}
	for _, module := range slices.Sorted(maps.Keys(inside)) {
		if modules[module] != inside[module] {
			return fmt.Errorf("%s is built with %s (%s), and the statement says %q of it", d.GetName(), module, inside[module], modules[module])
		}
	}
	return nil
}

// images are those in the archives here, with their digests.
func (r *release) images() (map[string]string, error) {
	paths, err := filepath.Glob(filepath.Join(r.dir, "images", "*.tar"))
	if err != nil {
		return nil, err
	}
	images := map[string]string{}
	for _, path := range paths {
		name, digest, err := imageIn(path)
		if err != nil {
			return nil, err
		}
		images[name] = digest
	}
	return images, nil
}

// imageIn is the name and the digest of the image in an OCI archive:
// https://github.com/opencontainers/image-spec/blob/main/image-layout.md
func imageIn(path string) (name, digest string, err error) {
	var index struct {
		Manifests []struct {
			Digest      string
			Annotations map[string]string
		}
	}
	if err := entry(path, "index.json", &index); err != nil {
		return "", "", err
	}
	if len(index.Manifests) != 1 {
		return "", "", fmt.Errorf("%s: its index.json names %d images, not one", path, len(index.Manifests))
	}
	m := index.Manifests[0]
	return m.Annotations["io.containerd.image.name"], strings.TrimPrefix(m.Digest, "sha256:"), nil
}

// revisionOf is the commit that an archive's image says it was built from.
func revisionOf(path, digest string) (string, error) {
	var image struct{ Annotations map[string]string }
	err := entry(path, "blobs/sha256/"+digest, &image)
	return image.Annotations["org.opencontainers.image.revision"], err
}

// entry reads a file of an archive that holds JSON.
func entry(path, name string, into any) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	for reader := tar.NewReader(file); ; {
		header, err := reader.Next()
		if err != nil {
			return fmt.Errorf("%s holds no %s: %w", path, name, err)
		}
		if header.Name != name {
			continue
		}
		if err := json.NewDecoder(reader).Decode(into); err != nil {
			return fmt.Errorf("%s: its %s: %w", path, name, err)
		}
		return nil
	}
}

func sha256Of(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// rebuild builds the statement's commit where nothing is known of this build.
func (r *release) rebuild(ctx context.Context, out io.Writer) error {
	c, err := readStatement(r.statement)
	if err != nil {
		return err
	}
	here, err := ask(ctx, r.source, "go", "env", "GOVERSION")
	if err != nil {
		return err
	}
	if here != c.goVersion {
		return fmt.Errorf("this is %s, and it was built by %s: say GOTOOLCHAIN=%s", here, c.goVersion, c.goVersion)
	}
	scratch, err := os.MkdirTemp("", "selvage-rebuild-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	source, err := filepath.Abs(r.source)
	if err != nil {
		return err
	}
	elsewhere := filepath.Join(scratch, "a", "folder", "elsewhere")
	if err := run(ctx, scratch, nil, "git", "clone", "--quiet", "--no-checkout", source, elsewhere); err != nil {
		return err
	}
	if err := run(ctx, elsewhere, nil, "git", "checkout", "--quiet", "--detach", c.commit); err != nil {
		return err
	}
	fmt.Fprintf(out, "building %s in %s, with nothing cached (minutes) …\n", c.commit, elsewhere)
	env := []string{"GOCACHE=" + filepath.Join(scratch, "cache"), "GOFLAGS=-mod=readonly", "MAKEFLAGS="}
	if err := run(ctx, elsewhere, env, "make", "build", "images", "VERSION="+c.version, "IMAGEFLAGS=--version="+c.version); err != nil {
		return err
	}
	again := release{source: elsewhere, dir: filepath.Join(elsewhere, "bin"), statement: r.statement}
	var names []string
	for _, d := range c.subjects {
		names = append(names, d.GetName())
	}
	return again.verify(out, c.commit, names)
}
