// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package images

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/selvage-net/selvage/hack/images/oci"
)

const plan = `NOTE: This is only a simulation!
Inst libc6 (2.36-9+deb12u14 Debian:12.14/oldstable, Debian-Security:12/oldstable-security [amd64]) [libgcc-s1:amd64 on libc6:amd64]
Inst bind9-dnsutils (1:9.18.49-1~deb12u3 Debian-Security:12/oldstable-security [amd64])
Conf libc6 (2.36-9+deb12u14 Debian:12.14/oldstable [amd64])
`

func TestPlanned(t *testing.T) {
	archives := t.TempDir()
	var want []string
	for _, name := range []string{"libc6_2.36-9+deb12u14_amd64.deb", "bind9-dnsutils_1%3a9.18.49-1~deb12u3_amd64.deb"} {
		path := filepath.Join(archives, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		want = append(want, path)
	}
	got, err := planned(plan, archives)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, error %v, want %v", got, err, want)
	}
	for name, bad := range map[string]string{
		"nothing":                "",
		"what is not there":      strings.ReplaceAll(plan, "libc6", "libc7"),
		"what is not understood": plan + "Inst weird\n",
	} {
		if _, err := planned(bad, archives); err == nil {
			t.Errorf("%s was planned without an error", name)
		}
	}
}

func TestCollect(t *testing.T) {
	tree := t.TempDir()
	for _, dir := range []string{"bin", "usr/share/doc/x"} {
		if err := os.MkdirAll(filepath.Join(tree, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"bin/dash", "usr/share/doc/x/copyright"} {
		if err := os.WriteFile(filepath.Join(tree, file), nil, 0o750); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("dash", filepath.Join(tree, "bin/sh")); err != nil {
		t.Fatal(err)
	}
	found := map[string]oci.File{}
	if err := collect(tree, found); err != nil {
		t.Fatal(err)
	}
	if len(found) != 2 || found["/bin/sh"].Link != "dash" || found["/bin/sh"].Source != "" || found["/bin/dash"].Mode != 0o750 {
		t.Errorf("%+v", found)
	}
}

// A link of ours that points at nothing is a misspelt name.
func TestLinksPointAtSomething(t *testing.T) {
	r := recipe{ref: "localhost/x:1", links: map[string]string{"/bin/nc": "nc.openbsd"}}
	if _, err := r.files(t.Context(), debian{}, t.TempDir()); err == nil || !strings.Contains(err.Error(), "/bin/nc.openbsd, which is not in it") {
		t.Errorf("error %v", err)
	}
}
