// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package museum

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/museum.md")

const (
	root = "../.."
	page = root + "/docs/museum.md"
)

// row is a failure that shipped, or several of one kind.
type row struct {
	// issues are system#number, the one that the tests are named after first.
	issues []string
	// happened, and the rule that prevents it here.
	happened, rule string
	tests          []exhibit
}

// exhibit is a test of a row.
type exhibit struct {
	pkg, name string
	// guards are taken out one at a time, and the test must fail each time. If
	// there are none the test itself switches the rules of switched off.
	guards   []string
	switched []string
}

func (e exhibit) String() string { return e.pkg + "." + e.name }

func allExhibits() (all []exhibit) {
	for _, r := range rows {
		all = append(all, r.tests...)
	}
	return all
}

// found are the museum's tests in the source, by package and name, and what
// rules each names that it switches off.
func found(t *testing.T) map[string][]string {
	t.Helper()
	tests := map[string][]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, decl := range file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "TestMuseum_") {
				pkg, _ := filepath.Rel(root, filepath.Dir(path))
				tests[pkg+"."+f.Name.Name] = switchedOff(f)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return tests
}

// switchedOff are the rules that a test hands to exhibit, which plays a
// scenario without and with each, and wants it to break just without.
func switchedOff(f *ast.FuncDecl) (rules []string) {
	ast.Inspect(f.Body, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		if name, ok := call.Fun.(*ast.Ident); !ok || (name.Name != "exhibit" && name.Name != "exhibitPlay") {
			return true
		}
		for _, arg := range call.Args {
			if text, ok := arg.(*ast.BasicLit); ok && text.Kind == token.STRING {
				rules = append(rules, strings.Trim(text.Value, `"`))
			}
		}
		return true
	})
	return rules
}

// TestEveryRowHasItsTest: each row has a test of its name, each such test is in
// a row, and each is seen to fail: by a guard of this package's, or by a rule
// that it switches off itself.
func TestEveryRowHasItsTest(t *testing.T) {
	tests := found(t)
	listed := map[string]bool{}
	for _, r := range rows {
		if len(r.tests) == 0 {
			t.Errorf("%s: no test", strings.Join(r.issues, ", "))
		}
		for _, e := range r.tests {
			listed[e.String()] = true
			rules, there := tests[e.String()]
			switch {
			case !there:
				t.Errorf("%s is not there", e)
			case !strings.HasPrefix(e.name, "TestMuseum_"+nameOf(r.issues[0])+"_"):
				t.Errorf("%s is not named after %s", e, r.issues[0])
			case len(e.guards) == 0 && len(e.switched) == 0:
				t.Errorf("nothing shows that %s can fail", e)
			}
			for _, rule := range e.switched {
				if !slices.Contains(rules, rule) {
					t.Errorf("%s does not switch %s off", e, rule)
				}
			}
			for _, name := range e.guards {
				if guards[name].pkg != e.pkg {
					t.Errorf("%s: guard %q is of package %q", e, name, guards[name].pkg)
				}
			}
		}
	}
	for name := range tests {
		if !listed[name] {
			t.Errorf("%s is in no row", name)
		}
	}
	for name := range guards {
		if !slices.ContainsFunc(allExhibits(), func(e exhibit) bool { return slices.Contains(e.guards, name) }) {
			t.Errorf("guard %q is nobody's", name)
		}
	}
}

// nameOf is an issue as a test's name has it.
func nameOf(issue string) string {
	return strings.NewReplacer("#", "_", "-", "_", " ", "_").Replace(issue)
}

// TestPage: docs/museum.md is what the rows say.
func TestPage(t *testing.T) {
	want := render()
	if *update {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(page)
	if err != nil || string(got) != want {
		t.Errorf("docs/museum.md is not what the rows say (%v): go test ./test/museum -run TestPage -update", err)
	}
}

func render() string {
	var b strings.Builder
	b.WriteString(preface)
	for _, r := range rows {
		var tests []string
		for _, e := range r.tests {
			var out []string
			for _, name := range e.guards {
				out = append(out, guards[name].what)
			}
			for _, rule := range e.switched {
				out = append(out, "rule "+rule)
			}
			tests = append(tests, fmt.Sprintf("`%s` in `%s`<br>seen to fail without: %s", e.name, e.pkg, strings.Join(out, "; ")))
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", strings.Join(r.issues, ", "), r.happened, r.rule, strings.Join(tests, "<br><br>"))
	}
	return b.String()
}

const preface = `<!-- Made by go test ./test/museum -run TestPage -update. Do not edit. -->
# The museum

Failures that other systems shipped, and the tests that show that they do not happen here. Each test is seen to fail:
the rule that prevents the failure is taken out, in a copy of the code or by the test itself, and the test has to fail
without it. ` + "`go test ./test/museum`" + ` does that; it also fails if a row has no test.

To run all of them: ` + "`go test -run TestMuseum_ ./...`" + ` (as root: one makes a time namespace).

| system#issue | what happened there | what prevents it here | tests |
| --- | --- | --- | --- |
`
