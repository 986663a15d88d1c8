// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
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
)

// architectures are those that images are built for.
var architectures = []string{"amd64", "arm64"}

// programs are what make build makes.
func (r *release) programs() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(r.source, "cmd"))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, nil
}

func (r *release) sboms(ctx context.Context, out io.Writer, tool string) error {
	programs, err := r.programs()
	if err != nil {
		return err
	}
	if tool, err = filepath.Abs(tool); err != nil {
		return err
	}
	dir, err := filepath.Abs(filepath.Join(r.dir, "sbom"))
	if err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, program := range programs {
		for _, architecture := range architectures {
			path := filepath.Join(dir, program+"_linux_"+architecture+".cdx.json")
			n, err := r.sbom(ctx, tool, program, architecture, path)
			if err != nil {
				return fmt.Errorf("%s for %s: %w", program, architecture, err)
			}
			fmt.Fprintf(out, "%s: %d modules, as in the program\n", filepath.Join(r.dir, "sbom", filepath.Base(path)), n)
		}
	}
	return nil
}

// sbom writes one, and says how many modules it names.
func (r *release) sbom(ctx context.Context, tool, program, architecture, path string) (int, error) {
	env := []string{"GOOS=linux", "GOARCH=" + architecture, "CGO_ENABLED=0", "GOFLAGS=-mod=readonly", "GOWORK=off"}
	if err := run(ctx, r.source, env, tool, "app", "-json", "-licenses", "-std", "-noserial", "-notimestamp",
		"-main", "cmd/"+program, "-output", path, "."); err != nil {
		return 0, err
	}
	if err := normalise(path); err != nil {
		return 0, err
	}
	written, err := readSBOM(path)
	if err != nil {
		return 0, err
	}
	scratch, err := os.MkdirTemp("", "selvage-sbom-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(scratch)
	built := filepath.Join(scratch, program)
	if err := run(ctx, r.source, env, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", built, "./cmd/"+program); err != nil {
		return 0, err
	}
	inside, err := modulesIn(built)
	if err != nil {
		return 0, err
	}
	return len(written), compare(written, inside)
}

// compare says which modules a bill of materials has too few, too many, or
// otherwise than the program.
func compare(written, inside map[string]string) error {
	var problems []error
	for _, module := range slices.Sorted(maps.Keys(inside)) {
		if sum, ok := written[module]; !ok {
			problems = append(problems, fmt.Errorf("%s is in the program, and not in its bill of materials", module))
		} else if sum != inside[module] {
			problems = append(problems, fmt.Errorf("%s: its checksum is %s in the program, and %s in its bill of materials", module, inside[module], sum))
		}
	}
	for _, module := range slices.Sorted(maps.Keys(written)) {
		if _, ok := inside[module]; !ok {
			problems = append(problems, fmt.Errorf("%s is in the bill of materials, and not in the program", module))
		}
	}
	return errors.Join(problems...)
}

// modulesIn are the modules that a program says it was built from, with their
// checksums as in go.sum, but in hexadecimal. The CNI plugin needs none.
func modulesIn(program string) (map[string]string, error) {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return nil, err
	}
	modules := map[string]string{}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		sum, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(m.Sum, "h1:"))
		if err != nil {
			return nil, fmt.Errorf("the checksum of %s: %w", m.Path, err)
		}
		modules[m.Path+"@"+m.Version] = hex.EncodeToString(sum)
	}
	return modules, nil
}

// readSBOM gives the same of a bill of materials.
func readSBOM(path string) (map[string]string, error) {
	var bill struct {
		Components []struct {
			Name, Version string
			Hashes        []struct{ Alg, Content string }
		}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &bill); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	modules := map[string]string{}
	for _, c := range bill.Components {
		if c.Name == "std" {
			continue // Go itself; programs name its version elsewhere
		}
		sum := ""
		for _, h := range c.Hashes {
			if h.Alg == "SHA-256" {
				sum = h.Content
			}
		}
		modules[c.Name+"@"+c.Version] = sum
	}
	return modules, nil
}

// normalise takes the digests of the tool itself out, which differ from one
// machine to the next; its version stays.
func normalise(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var bill map[string]any
	if err := json.Unmarshal(data, &bill); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	metadata, _ := bill["metadata"].(map[string]any)
	tools, _ := metadata["tools"].([]any)
	if len(tools) == 0 {
		return fmt.Errorf("%s names no tool that made it", path)
	}
	for _, tool := range tools {
		if tool, ok := tool.(map[string]any); ok {
			delete(tool, "hashes")
		}
	}
	return writeJSON(path, bill)
}

func writeJSON(path string, what any) error {
	data, err := json.MarshalIndent(what, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}

// run runs a program in a folder; what it said is in the error.
func run(ctx context.Context, dir string, env []string, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	said := &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, said)
	}
	return nil
}
