// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

// Package bundle packs what a maintainer needs into one file, and keeps out
// what nobody is to see: everything goes through Text or Object on its way in.
package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// Bundle is what has been collected by now.
type Bundle struct {
	// Root is the folder that all is in.
	Root  string
	files []file
	// failures are what could not be collected, and why.
	failures []string
}

type file struct {
	path string
	data []byte
}

// Text adds a text.
func (b *Bundle) Text(name, text string) {
	b.files = append(b.files, file{name, []byte(Text(text))})
}

// errSecret is a mistake of this program's: nothing asks for Secrets.
var errSecret = errors.New("a Secret is never put into a bundle")

// Objects adds API objects as a YAML stream. A Secret is refused.
func (b *Bundle) Objects(name string, objects []unstructured.Unstructured) {
	var all bytes.Buffer
	for i := range objects {
		if objects[i].GetKind() == "Secret" {
			b.Fail(name, errSecret)
			continue
		}
		object := objects[i].DeepCopy()
		Object(object.Object)
		text, err := yaml.Marshal(object.Object)
		if err != nil {
			b.Fail(name, err)
			continue
		}
		all.WriteString("---\n")
		all.Write(text)
	}
	b.files = append(b.files, file{name, all.Bytes()})
}

// Fail notes what could not be collected.
func (b *Bundle) Fail(what string, err error) {
	b.failures = append(b.failures, Text(fmt.Sprintf("%s: %v", what, err)))
}

// Failures are what could not be collected.
func (b *Bundle) Failures() []string { return b.failures }

// errorsFile tells what is missing, inside the bundle.
const errorsFile = "errors.txt"

// Write packs the bundle.
func (b *Bundle) Write(to io.Writer, at time.Time) error {
	files := slices.Clone(b.files)
	if len(b.failures) > 0 {
		files = append(files, file{errorsFile, []byte(strings.Join(b.failures, "\n") + "\n")})
	}
	slices.SortStableFunc(files, func(x, y file) int { return strings.Compare(x.path, y.path) })
	packed := gzip.NewWriter(to)
	archive := tar.NewWriter(packed)
	for _, f := range files {
		header := &tar.Header{Typeflag: tar.TypeReg, Name: path.Join(b.Root, f.path), Mode: 0o600, Size: int64(len(f.data)), ModTime: at.Truncate(time.Second)}
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		if _, err := archive.Write(f.data); err != nil {
			return err
		}
	}
	return errors.Join(archive.Close(), packed.Close())
}
