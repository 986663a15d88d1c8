// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package images makes the images that the upstream tests ask for, without
// their registry: the tests' own programs built from source, and what they
// call, from Debian packages.
package images

import (
	"context"
	"embed"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/selvage-net/selvage/hack/cluster/controlplane"
	"github.com/selvage-net/selvage/hack/images/oci"
	"github.com/selvage-net/selvage/test/upstream/programs"
)

// The names under which the tests ask for images: those in
// k8s.io/kubernetes/test/utils/image/manifest.go. Nothing is pulled: images of
// these names are made here and loaded into the nodes. A test compares them
// with that file.
const (
	registry         = "registry.k8s.io"
	agnhost          = registry + "/e2e-test-images/agnhost:2.66.1"
	busybox          = registry + "/e2e-test-images/busybox:1.37.0-2"
	glibcDNS         = registry + "/e2e-test-images/glibc-dns-testing:2.1.1"
	nginx            = registry + "/e2e-test-images/nginx:1.27.0-2"
	invalidConntrack = registry + "/e2e-test-images/regression-issue-74839:1.5"
	iptables         = registry + "/build-image/distroless-iptables:v0.9.9"
	pause            = registry + "/pause:3.10.2"
)

// CoreDNS is the image of the cluster's DNS server: of no test, so it has a
// name of ours.
const CoreDNS = "localhost/coredns:" + programs.CoreDNSVersion

// recipe is what makes an image.
type recipe struct {
	ref string
	// packages are Debian's; links are symbolic.
	packages        []string
	links           map[string]string
	programs        map[string]string // and their files
	entrypoint, cmd []string
}

// tools are what upstream's agnhost image has besides its program. There they
// are Alpine's, linked with musl.
var tools = []string{"dash", "bash", "coreutils", "libc-bin", "curl", "wget", "bind9-dnsutils", "netcat-openbsd", "iproute2", "grep", "sed", "hostname", "debianutils"}

// applets are those that the tests start by themselves; from a shell busybox
// finds all of its own.
var applets = []string{"sh", "sleep", "nc", "wget", "cat"}

func recipes(p programs.Paths) []recipe {
	// What Debian's alternatives would make.
	which := map[string]string{"/bin/which": "/usr/bin/which.debianutils"}
	agnhostLinks := maps.Clone(which)
	agnhostLinks["/bin/nc"] = "nc.openbsd"
	agnhostLinks["/agnhost-2"] = "agnhost"
	busyboxLinks := map[string]string{}
	for _, applet := range applets {
		busyboxLinks["/usr/local/bin/"+applet] = "/bin/busybox"
	}
	busyboxLinks["/bin/sh"] = "busybox"
	return []recipe{
		{
			ref: agnhost, packages: tools, links: agnhostLinks,
			// Tests of DNS run servers of their own from it.
			programs:   map[string]string{"/agnhost": p.Agnhost, "/coredns": p.CoreDNS, "/localhost.crt": p.Certificate, "/localhost.key": p.Key},
			entrypoint: []string{"/agnhost"}, cmd: []string{"pause"},
		},
		{ref: glibcDNS, packages: []string{"dash", "coreutils", "libc-bin", "bind9-dnsutils", "hostname"}},
		{ref: iptables, packages: []string{"dash", "coreutils", "grep", "debianutils", "conntrack"}, links: which},
		{ref: busybox, packages: []string{"busybox-static"}, links: busyboxLinks, cmd: []string{"sh"}},
		{
			ref: nginx, packages: []string{"dash", "nginx-light"},
			entrypoint: []string{"/usr/sbin/nginx", "-g", "daemon off; pid /tmp/nginx.pid;"},
			// As in upstream's: logs are the container's.
			links: map[string]string{"/var/log/nginx/access.log": "/dev/stdout", "/var/log/nginx/error.log": "/dev/stderr"},
		},
		{ref: invalidConntrack, programs: map[string]string{"/regression-issue-74839": p.InvalidConntrack}, entrypoint: []string{"/regression-issue-74839"}},
		{ref: pause, programs: map[string]string{"/pause": p.Pause}, entrypoint: []string{"/pause"}},
		{ref: CoreDNS, programs: map[string]string{"/coredns": p.CoreDNS}, entrypoint: []string{"/coredns"}},
	}
}

// etc is what no package brings: maintainer scripts would make it.
//
//go:embed etc
var etc embed.FS

// Build makes all images in dir and returns their archives' paths.
func Build(ctx context.Context, out io.Writer, dir string, p programs.Paths) ([]string, error) {
	cache, err := controlplane.CacheDir()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("making the folder of images: %w", err)
	}
	fmt.Fprintf(out, "making the tests' images from Debian packages (usually half a minute; packages are kept in %s) …\n", filepath.Join(cache, "debian"))
	var archives []string
	for _, r := range recipes(p) {
		files, err := r.files(ctx, debian{cache: filepath.Join(cache, "debian")}, dir)
		if err != nil {
			return nil, fmt.Errorf("making %s: %w", r.ref, err)
		}
		name := path.Base(r.ref)
		archive := filepath.Join(dir, name[:strings.LastIndex(name, ":")]+".tar")
		image := oci.Image{Ref: r.ref, Entrypoint: r.entrypoint, Cmd: r.cmd}
		if _, err := oci.Write(archive, image, []oci.Platform{{Architecture: runtime.GOARCH, Files: files}}); err != nil {
			return nil, err
		}
		archives = append(archives, archive)
	}
	return archives, nil
}

func (r recipe) files(ctx context.Context, d debian, dir string) ([]oci.File, error) {
	var files []oci.File
	if len(r.packages) > 0 {
		var err error
		if files, err = d.files(ctx, r.packages); err != nil {
			return nil, err
		}
	}
	own, err := writeEtc(filepath.Join(dir, "etc"))
	if err != nil {
		return nil, err
	}
	files = append(files, own...)
	for target, source := range r.programs {
		files = append(files, oci.File{Path: target, Source: source})
	}
	for from, to := range r.links {
		if !path.IsAbs(to) {
			to = path.Join(path.Dir(from), to)
		}
		has := func(f oci.File) bool { return f.Path == to }
		if !strings.HasPrefix(to, "/dev/") && !slices.ContainsFunc(files, has) {
			return nil, fmt.Errorf("%s would point at %s, which is not in it", from, to)
		}
		files = append(files, oci.File{Path: from, Link: to})
	}
	return files, nil
}

// writeEtc writes the embedded files, and an empty one that makes /tmp.
func writeEtc(dir string) (files []oci.File, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("writing files of images: %w", err)
	}
	err = fs.WalkDir(etc, "etc", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := etc.ReadFile(name)
		if err != nil {
			return err
		}
		source := filepath.Join(dir, path.Base(name))
		files = append(files, oci.File{Path: "/" + name, Source: source, Mode: 0o644})
		return os.WriteFile(source, data, 0o644)
	})
	if err != nil {
		return nil, fmt.Errorf("writing files of images: %w", err)
	}
	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, nil, 0o644); err != nil {
		return nil, fmt.Errorf("writing files of images: %w", err)
	}
	return append(files, oci.File{Path: "/tmp/.keep", Source: empty, Mode: 0o644}), nil
}
