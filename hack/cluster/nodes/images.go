// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package nodes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/util/wait"

	"time"

	"github.com/selvage-net/selvage/hack/cluster/nodes/machine"
	"github.com/selvage-net/selvage/hack/images/oci"
)

// LoadImage imports an OCI or Docker archive into the nodes' containerd: into
// those named, or else into all, and then also into those that are off, added
// or re-imaged later, before their kubelets start. Pods find it under its name
// with imagePullPolicy Never or IfNotPresent.
func (c *Cluster) LoadImage(ctx context.Context, archive string, names ...string) error {
	nodes := c.Nodes()
	if len(names) > 0 {
		nodes = nil
		for _, name := range names {
			n, err := c.Node(name)
			if err != nil {
				return err
			}
			nodes = append(nodes, n)
		}
	}
	kept, err := c.keepImage(archive, len(names) == 0)
	if err != nil {
		return err
	}
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(runtime.NumCPU())
	for _, n := range nodes {
		work.Go(func() error { return n.importImage(ctx, kept, len(names) > 0) })
	}
	return work.Wait()
}

// keepImage copies the archive to where nodes see it.
func (c *Cluster) keepImage(archive string, remember bool) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	entries, err := os.ReadDir(filepath.Join(c.Dir, "images"))
	if err != nil {
		return "", fmt.Errorf("reading the images: %w", err)
	}
	name := fmt.Sprintf("%03d-%s", len(entries), filepath.Base(archive))
	if err := copyFile(archive, filepath.Join(c.Dir, "images", name)); err != nil {
		return "", fmt.Errorf("keeping the image %s: %w", archive, err)
	}
	if remember {
		c.images = append(c.images, name)
	}
	return name, nil
}

func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	_, err = io.Copy(out, in)
	return err
}

func importArgs(archive string) []string {
	return []string{"--namespace=k8s.io", "images", "import", archive}
}

// importImage imports a kept archive now, or leaves it to the node's start.
func (n *Node) importImage(ctx context.Context, kept string, now bool) error {
	if n.State() == "off" {
		if now {
			return fmt.Errorf("loading an image into %s: %w", n.Name, errOff)
		}
		return nil
	}
	if err := n.awaitRuntime(ctx); err != nil {
		return err
	}
	cmd, err := n.Command(ctx, "ctr", importArgs(filepath.Join(machine.ImagesDir, kept))...)
	if err != nil {
		return err
	}
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("importing %s into %s: %w: %s", kept, n.Name, err, said)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.imported[kept] = true
	return nil
}

// awaitRuntime waits until containerd answers.
func (n *Node) awaitRuntime(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var last error
	err := wait.PollUntilContextCancel(ctx, 50*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		cmd, err := n.Command(ctx, "ctr", "version")
		if err != nil {
			return false, err
		}
		var said []byte
		if said, last = cmd.CombinedOutput(); last != nil {
			last = fmt.Errorf("%w: %s", last, said)
		}
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("waiting for containerd on %s: %w", n.Name, errors.Join(err, last))
	}
	return nil
}

// missingImages are the archives that the node's disk lacks; they are counted
// as imported, since nothing else starts before they are. Stop takes that back
// if it did not come so far.
func (n *Node) missingImages() (missing []string) {
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	for _, image := range n.cluster.images {
		if !n.imported[image] {
			missing = append(missing, image)
			n.imported[image] = true
		}
	}
	return missing
}

func (c *Cluster) makePauseImage() error {
	archive := filepath.Join(c.Dir, "images", "000-pause.tar")
	_, err := oci.Write(archive, oci.Image{Ref: PauseImage, Entrypoint: []string{"/pause"}}, []oci.Platform{{
		Architecture: runtime.GOARCH, Files: []oci.File{{Path: "/pause", Source: c.program("pause")}},
	}})
	if err != nil {
		return fmt.Errorf("making the pause image: %w", err)
	}
	c.images = append(c.images, filepath.Base(archive))
	return nil
}
