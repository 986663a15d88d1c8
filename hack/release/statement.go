// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	slsa "github.com/in-toto/attestation/go/predicates/provenance/v1"
	intoto "github.com/in-toto/attestation/go/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"
)

// The statement's types: https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md
// and https://slsa.dev/spec/v1.0/provenance.
const (
	predicateType = "https://slsa.dev/provenance/v1"
	repository    = "https://github.com/selvage-net/selvage"
	// buildType says how the parameters are to be read.
	buildType = repository + "/blob/main/docs/supply-chain.md#the-statement"
	// localBuilder is anybody's machine: it vouches for nothing.
	localBuilder = repository + "/blob/main/docs/supply-chain.md#built-locally"
)

type options struct {
	builder string
	dirty   bool
}

// provenance writes the statement about what lies in the release's folder.
func (r *release) provenance(ctx context.Context, out io.Writer, o options) error {
	commit, version, err := r.commit(ctx, o.dirty)
	if err != nil {
		return err
	}
	revision := commit
	if o.dirty {
		revision += "-dirty" // as hack/images has it
	}
	subjects, err := r.subjects(revision)
	if err != nil {
		return err
	}
	bills, materials, err := r.bills()
	if err != nil {
		return err
	}
	goVersion, err := ask(ctx, r.source, "go", "env", "GOVERSION")
	if err != nil {
		return err
	}
	source := &intoto.ResourceDescriptor{Uri: "git+" + repository, Digest: map[string]string{"gitCommit": commit}}
	if o.dirty {
		source.Annotations, _ = structpb.NewStruct(map[string]any{"uncommittedChanges": true})
	}
	external, err := structpb.NewStruct(map[string]any{
		"source": "git+" + repository, "commit": commit, "version": version, "targets": []any{"build", "images"},
	})
	if err != nil {
		return err
	}
	internal, err := structpb.NewStruct(map[string]any{"go": goVersion})
	if err != nil {
		return err
	}
	provenance := &slsa.Provenance{
		BuildDefinition: &slsa.BuildDefinition{
			BuildType: buildType, ExternalParameters: external, InternalParameters: internal,
			ResolvedDependencies: append([]*intoto.ResourceDescriptor{source}, materials...),
		},
		RunDetails: &slsa.RunDetails{Builder: &slsa.Builder{Id: o.builder}, Byproducts: bills},
	}
	if err := provenance.Validate(); err != nil {
		return fmt.Errorf("the provenance is not valid: %w", err)
	}
	predicate := &structpb.Struct{}
	if err := convert(provenance, predicate); err != nil {
		return err
	}
	statement := &intoto.Statement{Type: intoto.StatementTypeUri, Subject: subjects, PredicateType: predicateType, Predicate: predicate}
	if err := statement.Validate(); err != nil {
		return fmt.Errorf("the statement is not valid: %w", err)
	}
	data, err := protojson.Marshal(statement)
	if err != nil {
		return err
	}
	// protojson varies its spaces on purpose; this drops them.
	indented := &bytes.Buffer{}
	if err := json.Indent(indented, data, "", "  "); err != nil {
		return err
	}
	if err := os.WriteFile(r.statement, append(indented.Bytes(), '\n'), 0o644); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s: %d subjects, %d modules, commit %s; not signed\n", r.statement, len(subjects), len(materials), commit)
	return nil
}

// commit is what the source tree is at, and what programs of it call themselves.
func (r *release) commit(ctx context.Context, dirty bool) (commit, version string, err error) {
	changes, err := ask(ctx, r.source, "git", "status", "--porcelain")
	if err != nil {
		return "", "", err
	}
	if changes != "" && !dirty {
		return "", "", fmt.Errorf("there are changes that are in no commit, so that none can be named (--allow-dirty says so in the statement):\n%s", changes)
	}
	if commit, err = ask(ctx, r.source, "git", "rev-parse", "HEAD"); err != nil {
		return "", "", err
	}
	version, err = ask(ctx, r.source, "git", "describe", "--tags", "--always", "--dirty")
	return commit, version, err
}

// subjects are the programs and the images, and each image by the digest that
// a registry shows. Images say what they were built from: it has to be this.
func (r *release) subjects(revision string) ([]*intoto.ResourceDescriptor, error) {
	programs, err := r.programs()
	if err != nil {
		return nil, err
	}
	images, err := filepath.Glob(filepath.Join(r.dir, "images", "*.tar"))
	if err != nil {
		return nil, err
	}
	if len(images) == 0 {
		return nil, fmt.Errorf("there are no images in %s: make images", filepath.Join(r.dir, "images"))
	}
	var subjects []*intoto.ResourceDescriptor
	for _, program := range programs {
		subject, err := r.file(program)
		if err != nil {
			return nil, fmt.Errorf("%w: make build", err)
		}
		subjects = append(subjects, subject)
	}
	for _, image := range images {
		archive, err := r.file(filepath.Join("images", filepath.Base(image)))
		if err != nil {
			return nil, err
		}
		name, digest, err := imageIn(image)
		if err != nil {
			return nil, err
		}
		if from, err := revisionOf(image, digest); err != nil {
			return nil, err
		} else if from != revision {
			return nil, fmt.Errorf("%s was built from %s, and not from %s: make images", image, from, revision)
		}
		inside := &intoto.ResourceDescriptor{Name: name, Digest: map[string]string{"sha256": digest}, MediaType: "application/vnd.oci.image.index.v1+json"}
		subjects = append(subjects, archive, inside)
	}
	return subjects, nil
}

// bills are the bills of materials, and all modules that they name.
func (r *release) bills() (bills, materials []*intoto.ResourceDescriptor, err error) {
	paths, err := filepath.Glob(filepath.Join(r.dir, "sbom", "*.cdx.json"))
	if err == nil && len(paths) == 0 {
		err = fmt.Errorf("there are no bills of materials in %s: make sbom", filepath.Join(r.dir, "sbom"))
	}
	if err != nil {
		return nil, nil, err
	}
	all := map[string]string{}
	for _, path := range paths {
		bill, err := r.file(filepath.Join("sbom", filepath.Base(path)))
		if err != nil {
			return nil, nil, err
		}
		bill.MediaType = "application/vnd.cyclonedx+json"
		bills = append(bills, bill)
		modules, err := readSBOM(path)
		if err != nil {
			return nil, nil, err
		}
		maps.Copy(all, modules)
	}
	for _, module := range slices.Sorted(maps.Keys(all)) {
		materials = append(materials, &intoto.ResourceDescriptor{Uri: "pkg:golang/" + module, Digest: map[string]string{"dirHash": all[module]}})
	}
	return bills, materials, nil
}

// file is a file of the release, by its name below the release's folder.
func (r *release) file(name string) (*intoto.ResourceDescriptor, error) {
	digest, err := sha256Of(filepath.Join(r.dir, name))
	if err != nil {
		return nil, err
	}
	return &intoto.ResourceDescriptor{Name: filepath.ToSlash(name), Digest: map[string]string{"sha256": digest}}, nil
}

func ask(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out)), nil
}
