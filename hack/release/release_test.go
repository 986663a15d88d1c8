// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/selvage-net/selvage/hack/images/oci"
)

// built makes a source tree of one program, in git, and a release of it.
func built(t *testing.T) release {
	t.Helper()
	r := release{source: t.TempDir(), dir: t.TempDir()}
	r.statement = filepath.Join(r.dir, "provenance.json")
	write(t, filepath.Join(r.source, "go.mod"), "module example.com/m\n\ngo 1.26.0\n")
	write(t, filepath.Join(r.source, "cmd", "program", "main.go"), "package main\n\nfunc main() {}\n")
	for _, args := range [][]string{
		{"git", "init", "-q"},
		{"git", "add", "."},
		{"git", "-c", "user.name=T", "-c", "user.email=t@example.com", "commit", "-qm", "first"},
		{"go", "build", "-trimpath", "-buildvcs=false", "-o", filepath.Join(r.dir, "program"), "./cmd/program"},
	} {
		if err := run(t.Context(), r.source, []string{"GOFLAGS="}, args[0], args[1:]...); err != nil {
			t.Fatal(err)
		}
	}
	r.image(t, "localhost/image:dev")
	r.bill(t, strings.Repeat("ab", 32))
	return r
}

// image makes an archive of one image.
func (r release) image(t *testing.T, ref string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(r.dir, "images"), 0o755); err != nil {
		t.Fatal(err)
	}
	platform := oci.Platform{Architecture: "amd64", Files: []oci.File{{Path: "/program", Source: filepath.Join(r.dir, "program")}}}
	head, err := ask(t.Context(), r.source, "git", "describe", "--always", "--abbrev=40", "--dirty")
	if err != nil {
		t.Fatal(err)
	}
	image := oci.Image{
		Ref: ref, Created: time.Unix(1700000000, 0), Entrypoint: []string{"/program"},
		Labels: map[string]string{"org.opencontainers.image.revision": head},
	}
	if _, err := oci.Write(filepath.Join(r.dir, "images", "image.tar"), image, []oci.Platform{platform}); err != nil {
		t.Fatal(err)
	}
}

// bill makes a bill of materials of one module, with a checksum.
func (r release) bill(t *testing.T, sum string) {
	t.Helper()
	write(t, filepath.Join(r.dir, "sbom", "program_linux_amd64.cdx.json"),
		`{"metadata": {"tools": [{"name": "tool", "hashes": [{"alg": "MD5"}]}]}, "components": [`+
			`{"name": "example.com/dep", "version": "v1.0.0", "hashes": [{"alg": "SHA-256", "content": "`+sum+`"}]}, {"name": "std", "version": "go1"}]}`)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (r release) state(t *testing.T, o options) error {
	t.Helper()
	if o.builder == "" {
		o.builder = localBuilder
	}
	return r.provenance(t.Context(), &bytes.Buffer{}, o)
}

func TestStatement(t *testing.T) {
	r := built(t)
	if err := r.state(t, options{builder: "https://ci.example.com"}); err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadFile(r.statement)
	if err != nil {
		t.Fatal(err)
	}
	var said struct {
		Type          string `json:"_type"`
		PredicateType string
		Subject       []struct {
			Name   string
			Digest map[string]string
		}
		Predicate struct {
			BuildDefinition struct {
				ExternalParameters   map[string]any
				ResolvedDependencies []struct {
					URI    string
					Digest map[string]string
				}
			}
			RunDetails struct{ Builder struct{ ID string } }
		}
	}
	if err := json.Unmarshal(first, &said); err != nil {
		t.Fatal(err)
	}
	head, err := ask(t.Context(), r.source, "git", "rev-parse", "HEAD")
	if err != nil {
		t.Fatal(err)
	}
	definition := said.Predicate.BuildDefinition
	if said.Type != "https://in-toto.io/Statement/v1" || said.PredicateType != "https://slsa.dev/provenance/v1" ||
		said.Predicate.RunDetails.Builder.ID != "https://ci.example.com" || definition.ExternalParameters["commit"] != head {
		t.Errorf("it says\n%s", first)
	}
	digests := map[string]string{}
	for _, s := range said.Subject {
		digests[s.Name] = s.Digest["sha256"]
	}
	want, err := exec.CommandContext(t.Context(), "sha256sum", filepath.Join(r.dir, "program")).Output()
	if err != nil {
		t.Fatal(err)
	}
	if digests["program"] != strings.Fields(string(want))[0] || digests["images/image.tar"] == "" || len(digests["localhost/image:dev"]) != 64 {
		t.Errorf("subjects %v", digests)
	}
	from := map[string]map[string]string{}
	for _, d := range definition.ResolvedDependencies {
		from[d.URI] = d.Digest
	}
	if from["git+"+repository]["gitCommit"] != head || from["pkg:golang/example.com/dep@v1.0.0"]["dirHash"] != strings.Repeat("ab", 32) || len(from) != 2 {
		t.Errorf("built from %v", from)
	}
	if err := r.state(t, options{builder: "https://ci.example.com"}); err != nil {
		t.Fatal(err)
	}
	if again, err := os.ReadFile(r.statement); err != nil || !bytes.Equal(first, again) {
		t.Errorf("the same twice gives two statements (%v)", err)
	}
	if err := r.verify(&bytes.Buffer{}, head, nil); err != nil {
		t.Error(err)
	}
	if err := r.verify(&bytes.Buffer{}, head, []string{"program"}); err != nil {
		t.Error(err)
	}
}

// TestVerifyRefuses: whatever differs from what the statement says.
func TestVerifyRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		after  func(*testing.T, release)
		commit string
		names  []string
		want   string
	}{
		"another program":     {after: func(t *testing.T, r release) { write(t, filepath.Join(r.dir, "program"), "x") }, want: "program: its sha256 is"},
		"no program":          {after: remove("program"), want: "program is not here"},
		"another image":       {after: func(t *testing.T, r release) { r.image(t, "localhost/other:dev") }, want: "localhost/image:dev is not here"},
		"another bill":        {after: func(t *testing.T, r release) { r.bill(t, "cd") }, want: "program_linux_amd64.cdx.json: its sha256 is"},
		"another commit":      {commit: "0123", want: "is about commit"},
		"an unknown name":     {names: []string{"nothing"}, want: "does not speak of nothing"},
		"no statement":        {after: remove("provenance.json"), want: "no such file"},
		"something else":      {after: func(t *testing.T, r release) { write(t, r.statement, `{"_type": "https://in-toto.io/Statement/v1"}`) }, want: "subject"},
		"another predicate":   {after: replace(predicateType, "https://example.com/x"), want: "about something else"},
		"another way":         {after: replace("#the-statement", "#another"), want: "built in another way"},
		"nobody built it":     {after: replace(localBuilder, ""), want: "runDetails.builder"},
		"a module left out":   {after: func(t *testing.T, r release) { r.ours(t) }, want: "is built with"},
		"no digest of a file": {after: replace(`"sha256"`, `"other"`), want: "the statement says"},
	} {
		t.Run(name, func(t *testing.T) {
			r := built(t)
			if err := r.state(t, options{}); err != nil {
				t.Fatal(err)
			}
			if c.after != nil {
				c.after(t, r)
			}
			err := r.verify(&bytes.Buffer{}, c.commit, c.names)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

func remove(name string) func(*testing.T, release) {
	return func(t *testing.T, r release) {
		if err := os.Remove(filepath.Join(r.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
}

func replace(from, to string) func(*testing.T, release) {
	return func(t *testing.T, r release) {
		data, err := os.ReadFile(r.statement)
		if err != nil || !bytes.Contains(data, []byte(from)) {
			t.Fatalf("no %s in it (%v)", from, err)
		}
		write(t, r.statement, strings.ReplaceAll(string(data), from, to))
	}
}

// ours puts a program in that has modules in it which no bill names: this test.
func (r release) ours(t *testing.T) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(r.dir, "program"), string(data))
	if err := r.state(t, options{}); err != nil {
		t.Fatal(err)
	}
}

func TestUncommittedChanges(t *testing.T) {
	r := built(t)
	write(t, filepath.Join(r.source, "cmd", "program", "more.go"), "package main\n")
	if err := r.state(t, options{}); err == nil || !strings.Contains(err.Error(), "more.go") {
		t.Errorf("%v", err)
	}
	if err := r.state(t, options{dirty: true}); err == nil || !strings.Contains(err.Error(), "make images") {
		t.Errorf("images without the changes: %v", err)
	}
	write(t, filepath.Join(r.source, "go.mod"), "module example.com/m\n\ngo 1.26.1\n") // git describe looks at what it knows
	r.image(t, "localhost/image:dev")
	if err := r.state(t, options{dirty: true}); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(r.statement); err != nil || !bytes.Contains(data, []byte(`"uncommittedChanges": true`)) {
		t.Errorf("it does not say so (%v)", err)
	}
}

// TestImagesOfAnotherCommit: what was built before is not taken for this.
func TestImagesOfAnotherCommit(t *testing.T) {
	r := built(t)
	if err := run(t.Context(), r.source, nil, "git", "-c", "user.name=T", "-c", "user.email=t@example.com", "commit", "-q", "--allow-empty", "-m", "second"); err != nil {
		t.Fatal(err)
	}
	if err := r.state(t, options{}); err == nil || !strings.Contains(err.Error(), "make images") {
		t.Errorf("%v", err)
	}
	r.image(t, "localhost/image:dev")
	if err := r.state(t, options{}); err != nil {
		t.Error(err)
	}
}

func TestUnfinished(t *testing.T) {
	for name, want := range map[string]string{"program": "make build", "images/image.tar": "make images", "sbom/program_linux_amd64.cdx.json": "make sbom"} {
		r := built(t)
		remove(name)(t, r)
		if err := r.state(t, options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("without %s: %v", name, err)
		}
	}
}

// TestSBOM has the real tool write one of a program of ours, and then lies
// about it.
func TestSBOM(t *testing.T) {
	top, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	tool := filepath.Join(top, "bin", "tools", "cyclonedx-gomod")
	if err := run(t.Context(), top, nil, "make", tool); err != nil {
		t.Fatal(err)
	}
	r := release{source: top, dir: t.TempDir()}
	paths := []string{filepath.Join(r.dir, "a.json"), filepath.Join(r.dir, "b.json")}
	for _, path := range paths {
		// The CNI plugin is built of nothing but Go itself.
		if n, err := r.sbom(t.Context(), tool, "selvage", "amd64", path); err != nil || n != 0 {
			t.Fatalf("%d modules: %v", n, err)
		}
	}
	if sha(t, paths[0]) != sha(t, paths[1]) {
		t.Error("two of the same differ")
	}
	path := filepath.Join(r.dir, "c.json")
	if n, err := r.sbom(t.Context(), tool, "selvage-controller", "arm64", path); err != nil || n < 20 {
		t.Fatalf("%d modules: %v", n, err)
	}
	written, err := readSBOM(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, lie := range map[string]func(map[string]string){
		"in the program, and not":           func(m map[string]string) { delete(m, slices.Sorted(maps.Keys(m))[0]) },
		"in the bill of materials, and not": func(m map[string]string) { m["example.com/more@v1.0.0"] = "ab" },
		"its checksum is":                   func(m map[string]string) { m[slices.Sorted(maps.Keys(m))[0]] = "ab" },
	} {
		other := maps.Clone(written)
		lie(other)
		if err := compare(other, written); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v, want %q", err, name)
		}
	}
}

func sha(t *testing.T, path string) string {
	t.Helper()
	sum, err := sha256Of(path)
	if err != nil {
		t.Fatal(err)
	}
	return sum
}
