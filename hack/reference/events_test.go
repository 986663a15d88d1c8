// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// parsed are the files of some packages, without their tests.
func parsed(t *testing.T, dirs ...string) (out []*ast.File) {
	t.Helper()
	for _, dir := range dirs {
		err := filepath.WalkDir("../../"+dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			out = append(out, file)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// literal is a string that stands in the code.
func literal(e ast.Expr) string {
	if l, ok := e.(*ast.BasicLit); ok && l.Kind == token.STRING {
		s, _ := strconv.Unquote(l.Value)
		return s
	}
	return ""
}

// constants are those with a prefix, by name.
func constants(files []*ast.File, prefix string) map[string]string {
	out := map[string]string{}
	for _, file := range files {
		ast.Inspect(file, func(n ast.Node) bool {
			if v, ok := n.(*ast.ValueSpec); ok {
				for i, name := range v.Names {
					if i < len(v.Values) && strings.HasPrefix(name.Name, prefix) && literal(v.Values[i]) != "" {
						out[name.Name] = literal(v.Values[i])
					}
				}
			}
			return true
		})
	}
	return out
}

// raised are the Events in the code: kind and reason.
func raised(t *testing.T) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	pure := parsed(t, "controllers/ownership")
	reasons, kinds := constants(pure, "Event"), constants(pure, "kind")
	for _, file := range pure {
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) < 5 {
				return true
			}
			if f, ok := call.Fun.(*ast.SelectorExpr); ok && f.Sel.Name == "event" {
				kind, _ := call.Args[2].(*ast.Ident)
				reason, _ := call.Args[3].(*ast.Ident)
				if kind == nil || reason == nil || kinds[kind.Name] == "" || reasons[reason.Name] == "" {
					t.Errorf("an Event without a constant for its kind and its reason: %v", call.Args[2:4])
					return true
				}
				out[kinds[kind.Name]+" "+reasons[reason.Name]] = true
			}
			return true
		})
	}
	// What is said on a Node, too.
	for _, file := range parsed(t, "controllers") {
		ast.Inspect(file, func(n ast.Node) bool {
			if v, ok := n.(*ast.ValueSpec); ok && v.Names[0].Name == "onNodes" {
				for _, e := range v.Values[0].(*ast.CompositeLit).Elts {
					out["Node "+literal(e.(*ast.KeyValueExpr).Value)] = true
				}
			}
			return true
		})
	}
	for name, reason := range constants(parsed(t, "node-agent/membership"), "reason") {
		kind := "Node"
		if name == "reasonTaken" {
			kind = "Pod"
		}
		out[kind+" "+reason] = true
	}
	return out
}

// TestEvents: docs/events.md has every Event that is raised, and no other.
func TestEvents(t *testing.T) {
	page, err := os.ReadFile("../../docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	written := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| (\\w+) \\| `(\\w+)` \\|").FindAllStringSubmatch(string(page), -1) {
		written[row[1]+" "+row[2]] = true
	}
	there := raised(t)
	if len(there) < 20 {
		t.Errorf("only %d Events were found", len(there))
	}
	for e := range there {
		if !written[e] {
			t.Errorf("docs/events.md does not have %s", e)
		}
	}
	for e := range written {
		if !there[e] {
			t.Errorf("docs/events.md has %s, which nothing raises", e)
		}
	}
}

// levels are the methods that log, of both loggers.
var levels = map[string]int{"Info": 1, "Warn": 1, "Debug": 1, "Error": 1, "WithValues": 0}

// logged are the keys of what is logged, and the calls that have others than
// plain words.
func logged(files []*ast.File, errorFirst bool) (keys, odd []string) {
	for _, file := range files {
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			f, ok := call.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			first, logs := levels[f.Sel.Name]
			if errorFirst && f.Sel.Name == "Error" {
				first++ // logr's: the error comes first
			}
			if !logs || len(call.Args) < first || !isLogger(f.X) {
				return true
			}
			for i := first; i < len(call.Args); i += 2 {
				key := literal(call.Args[i])
				if !regexp.MustCompile(`^[a-z][A-Za-z-]*$`).MatchString(key) {
					odd = append(odd, f.Sel.Name+" "+key)
				}
				keys = append(keys, key)
			}
			return true
		})
	}
	slices.Sort(keys)
	return slices.Compact(keys), odd
}

// isLogger: something that goes by a name like log, Log or logger.
func isLogger(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.Ident:
		return strings.HasPrefix(strings.ToLower(e.Name), "log")
	case *ast.SelectorExpr:
		return strings.HasPrefix(strings.ToLower(e.Sel.Name), "log")
	case *ast.CallExpr: // log.FromContext(ctx), logger.V(1)
		f, ok := e.Fun.(*ast.SelectorExpr)
		return ok && isLogger(f.X)
	}
	return false
}

// TestLogs: the keys of the logs are those that docs/events.md lists, so that
// what people filter by stays.
func TestLogs(t *testing.T) {
	page, err := os.ReadFile("../../docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	_, logs, _ := strings.Cut(string(page), "\n## Logs\n")
	for program, files := range map[string][]*ast.File{
		"selvage-controller": parsed(t, "controllers", "cmd/selvage-controller"),
		"selvage-agent":      parsed(t, "node-agent/membership", "node-agent/cniserver", "node-agent/installation", "cmd/selvage-agent"),
	} {
		keys, odd := logged(files, program == "selvage-controller")
		if len(odd) > 0 {
			t.Errorf("%s logs with keys that are no plain words: %q", program, odd)
		}
		row := regexp.MustCompile("(?m)^\\| `" + program + "` \\| (.*) \\|$").FindStringSubmatch(logs)
		if row == nil {
			t.Fatalf("docs/events.md has no row %s", program)
		}
		var written []string
		for _, key := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row[1], -1) {
			written = append(written, key[1])
		}
		slices.Sort(written)
		if !slices.Equal(keys, written) {
			t.Errorf("%s logs with the keys\n%q, and docs/events.md has\n%q", program, keys, written)
		}
	}
}
