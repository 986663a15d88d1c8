// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package ownership_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestImportLaw: the pure packages know no cluster, no kernel and no clock.
func TestImportLaw(t *testing.T) {
	for _, dir := range []string{".", "../../node-agent/addresses"} {
		names, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: no files: %v", dir, err)
		}
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			lawful(t, name, file)
		}
	}
}

func lawful(t *testing.T, name string, file *ast.File) {
	allowed := map[string]bool{"go4.org/netipx": true}
	forbidden := map[string]bool{"os": true, "net": true, "syscall": true, "log": true, "log/slog": true, "context": true, "math/rand": true, "math/rand/v2": true}
	for _, spec := range file.Imports {
		path, _ := strconv.Unquote(spec.Path.Value)
		outside := strings.Contains(strings.SplitN(path, "/", 2)[0], ".")
		if outside && !allowed[path] || forbidden[path] || strings.HasPrefix(path, "net/http") || strings.HasPrefix(path, "os/") {
			t.Errorf("%s imports %s: a pure package takes what it needs as a value", name, path)
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if x, ok := sel.X.(*ast.Ident); ok && x.Name == "time" {
			switch sel.Sel.Name {
			case "Now", "Since", "Until", "Sleep", "After", "NewTimer", "NewTicker", "Tick", "AfterFunc":
				t.Errorf("%s uses time.%s: time is a value here", name, sel.Sel.Name)
			}
		}
		return true
	})
}
