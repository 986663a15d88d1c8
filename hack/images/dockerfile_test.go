// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// stage is one of a Dockerfile's: its instructions, but for those that only
// matter while it is built.
type stage struct {
	base    string
	copied  map[string]string // where to → from where
	user    string
	entry   []string
	workdir string
	runs    []string
}

// stages reads as much of a Dockerfile as ours uses, and stops at the rest.
func stages(t *testing.T, path string) map[string]*stage {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]*stage{}
	var now *stage
	for line := range strings.Lines(strings.ReplaceAll(string(data), "\\\n", " ")) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		word, rest, _ := strings.Cut(line, " ")
		fields := strings.Fields(rest)
		switch word {
		case "FROM":
			now = &stage{base: fields[len(fields)-3], copied: map[string]string{}}
			all[fields[len(fields)-1]] = now
		case "ARG":
		case "COPY":
			for _, from := range fields[:len(fields)-1] {
				if from != "--from=build" {
					now.copied[fields[len(fields)-1]] = from
				}
			}
		case "RUN":
			now.runs = append(now.runs, rest)
		case "USER":
			now.user = rest
		case "WORKDIR":
			now.workdir = rest
		case "ENTRYPOINT":
			if err := json.Unmarshal([]byte(rest), &now.entry); err != nil {
				t.Fatal(err)
			}
		default:
			t.Fatalf("this test does not know the instruction %s: is it the same in hack/images?", word)
		}
	}
	return all
}

// The Dockerfile and this program are two ways to the same images.
func TestDockerfile(t *testing.T) {
	all := stages(t, filepath.Join("..", "..", "Dockerfile"))
	if len(all) != len(recipes)+1 {
		t.Errorf("the Dockerfile has %d stages, for %d images and their build", len(all), len(recipes))
	}
	for _, r := range recipes {
		s := all[r.name]
		if s == nil {
			t.Errorf("the Dockerfile has no stage %s", r.name)
			continue
		}
		copied := map[string]string{}
		for _, p := range r.programs {
			copied["/"+p] = "/out/" + p
		}
		want := &stage{base: "scratch", copied: copied, user: r.user, entry: r.entrypoint(), workdir: "/"}
		if !reflect.DeepEqual(s, want) {
			t.Errorf("stage %s is\n%+v\nhack/images makes\n%+v", r.name, s, want)
		}
	}
}

// It also builds them with the same flags, and from all that they need.
func TestDockerfileBuilds(t *testing.T) {
	build := stages(t, filepath.Join("..", "..", "Dockerfile"))["build"]
	last := build.runs[len(build.runs)-1]
	want := "CGO_ENABLED=0 GOOS=linux GOARCH=${TARGETARCH} GOAMD64=v1 GOARM64=v8.0 go " +
		strings.Join(buildArguments("/out/", "${VERSION}"), " ")
	if got := strings.Join(strings.Fields(strings.ReplaceAll(last, `"`, "")), " "); got != want {
		t.Errorf("it builds with\n%s\nhack/images with\n%s", got, want)
	}
	for _, dir := range ownFolders(t) {
		if _, ok := build.copied[dir]; !ok {
			t.Errorf("the programs need %s/, which the Dockerfile does not copy", dir)
		}
	}
}

// ownFolders are the folders of this repository that the programs import from.
func ownFolders(t *testing.T) []string {
	t.Helper()
	const module = "github.com/selvage-net/selvage/"
	args := []string{"list", "-deps", "-f", "{{.ImportPath}}"}
	for _, p := range programs() {
		args = append(args, module+"cmd/"+p)
	}
	var dirs []string
	for line := range strings.Lines(output(t, "go", args...)) {
		if rest, ours := strings.CutPrefix(strings.TrimSpace(line), module); ours {
			dir, _, _ := strings.Cut(rest, "/")
			dirs = append(dirs, dir)
		}
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}
