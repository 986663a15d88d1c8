// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package museum

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// guard is a rule in the code of a package, and how to take it out.
type guard struct {
	pkg string
	// what is taken out, in words.
	what  string
	edits []edit
}

// edit replaces a piece of a file that is there just once. OFF in the new text
// is true while the guard is out.
type edit struct{ file, old, new string }

// TestGuardsAreNeeded builds each package's tests with all of its guards made
// to depend on a variable of the environment, and runs the museum's tests:
// with all guards in they pass, and without its own each of them fails.
func TestGuardsAreNeeded(t *testing.T) {
	byPackage := map[string][]exhibit{}
	for _, e := range allExhibits() {
		if len(e.guards) > 0 {
			byPackage[e.pkg] = append(byPackage[e.pkg], e)
		}
	}
	for pkg, exhibits := range byPackage {
		t.Run(strings.ReplaceAll(pkg, "/", "."), func(t *testing.T) {
			t.Parallel()
			binary := build(t, pkg)
			names := make([]string, 0, len(exhibits))
			for _, e := range exhibits {
				names = append(names, e.name)
			}
			if out, err := play(binary, pkg, "", strings.Join(slices.Compact(names), "|")); err != nil {
				t.Fatalf("with all guards in place: %v\n%s", err, out)
			}
			for _, e := range exhibits {
				for _, name := range e.guards {
					out, err := play(binary, pkg, name, e.name)
					if err == nil || !strings.Contains(out, "--- FAIL: "+e.name) {
						t.Errorf("%s does not fail without %q (%s): %v\n%s", e.name, name, guards[name].what, err, out)
					}
				}
			}
		})
	}
}

// build compiles the tests of a package against a copy of its files in which
// the guards can be taken out.
func build(t *testing.T, pkg string) string {
	t.Helper()
	dir := t.TempDir()
	absolute, err := filepath.Abs(filepath.Join(root, pkg))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for name, g := range guards {
		if g.pkg != pkg {
			continue
		}
		for _, e := range g.edits {
			if files[e.file] == "" {
				text, err := os.ReadFile(filepath.Join(absolute, e.file))
				if err != nil {
					t.Fatal(err)
				}
				files[e.file] = string(text)
			}
			if n := strings.Count(files[e.file], e.old); n != 1 {
				t.Fatalf("guard %q is not where it was: %s/%s has this %d times:\n%s", name, pkg, e.file, n, e.old)
			}
			files[e.file] = strings.Replace(files[e.file], e.old, strings.ReplaceAll(e.new, "OFF", fmt.Sprintf("museumOff(%q)", name)), 1)
		}
	}
	files["museum_off.go"] = fmt.Sprintf(offSource, filepath.Base(pkg))
	replace := map[string]string{}
	for name, text := range files {
		copied := filepath.Join(dir, name)
		if err := os.WriteFile(copied, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		replace[filepath.Join(absolute, name)] = copied
	}
	for _, path := range simulations(t, absolute) {
		replace[path] = "" // as if it were not there
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "museum.test")
	// vet has seen the original; the copy is none of its business.
	c := exec.Command("go", "test", "-c", "-vet=off", "-overlay", filepath.Join(dir, "overlay.json"), "-o", binary, ".")
	c.Dir = absolute
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("building %s with its guards removable: %v\n%s", pkg, err, out)
	}
	return binary
}

// simulations are the tests of a package that drive the whole program, which
// would have to be compiled once more for the sake of none of the exhibits.
func simulations(t *testing.T, dir string) (found []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), `selvage/test/sim"`) {
			found = append(found, path)
		}
	}
	return found
}

const offSource = `package %s

import "os"

var museumGuard = os.Getenv("MUSEUM_OFF")

func museumOff(guard string) bool { return museumGuard == guard }
`

// play runs some tests without a guard.
func play(binary, pkg, without, tests string) (string, error) {
	c := exec.Command(binary, "-test.run", "^("+tests+")$", "-test.timeout", "2m")
	c.Dir = filepath.Join(root, pkg)
	c.Env = append(os.Environ(), "MUSEUM_OFF="+without)
	out, err := c.CombinedOutput()
	return string(out), err
}
