// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package nodes

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"

	"github.com/selvage-net/selvage/hack/cluster/nodes/machine"
)

const containerdSocket = "/run/containerd/containerd.sock"

// boot starts the node's first process, on a host that is plugged in.
func (n *Node) boot(ctx context.Context) (err error) {
	c := n.cluster
	if err := n.format(); err != nil {
		return err
	}
	if err := n.prepareNetwork(); err != nil {
		return err
	}
	if err := n.configure(); err != nil {
		return err
	}
	parent := filepath.Join(c.name, n.Name)
	if err := c.hierarchies.remove(ctx, parent); err != nil {
		return err
	}
	if n.cgroups, err = c.hierarchies.make(c.name, n.Name); err != nil {
		return err
	}
	n.bootID, n.bootedAt = newBootID(), time.Now()
	spec, err := n.spec()
	if err != nil {
		return err
	}
	if err := spec.Write(n.path("machine.json")); err != nil {
		return err
	}
	cmd := exec.Command(c.program("init"), "join", n.path("machine.json"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: machine.Namespaces}
	n.process, err = n.host.StartProcess(n.Name, filepath.Join(n.Logs(), "init.log"), cmd)
	n.paused = false
	return err
}

func (n *Node) spec() (*machine.Spec, error) {
	c, paths := n.cluster, n.cluster.ControlPlane.NodePaths()
	plugins, err := c.options.pluginsDir()
	if err != nil {
		return nil, err
	}
	return &machine.Spec{
		Name: n.Name, BootID: n.bootID, Cgroups: n.cgroups, Disk: n.disk(), Configuration: n.path("configuration"),
		Logs: n.Logs(), Images: filepath.Join(c.Dir, "images"), Plugins: plugins,
		Programs: map[string]string{
			"containerd": paths.Containerd, "containerd-shim-runc-v2": paths.Shim, "ctr": paths.Ctr,
			"kubelet": paths.Kubelet, "kube-proxy": paths.Proxy, "kubectl": c.ControlPlane.Kubectl,
		},
		Services: n.services(n.missingImages()),
	}, nil
}

// format makes what is not yet on the disk. What belongs to the installation,
// such as the machine id, is new with the disk.
func (n *Node) format() error {
	if err := machine.Format(n.disk()); err != nil {
		return err
	}
	if err := os.MkdirAll(n.Logs(), 0o755); err != nil {
		return fmt.Errorf("making the folder of logs: %w", err)
	}
	etc := filepath.Join(n.disk(), machine.DiskEtc, machine.Upper)
	id := filepath.Join(etc, "machine-id")
	if _, err := os.Stat(id); errors.Is(err, fs.ErrNotExist) {
		if err := os.WriteFile(id, []byte(strings.ReplaceAll(uuid.NewString(), "-", "")+"\n"), 0o444); err != nil {
			return fmt.Errorf("making the machine id: %w", err)
		}
	}
	for name, content := range map[string]string{
		"hostname": n.Name + "\n", "hosts": n.cluster.hostsFile(), "resolv.conf": "# no name server is reached from here\n",
	} {
		if err := os.WriteFile(filepath.Join(etc, name), []byte(content), 0o644); err != nil {
			return fmt.Errorf("writing /etc/%s: %w", name, err)
		}
	}
	return n.installReference()
}

func (c *Cluster) hostsFile() string {
	lines := []string{"127.0.0.1 localhost", "::1 localhost"}
	for _, n := range c.Nodes() {
		for _, a := range n.Addresses() {
			lines = append(lines, a.String()+" "+n.Name)
		}
	}
	return strings.Join(lines, "\n") + "\n"
}

// prepareNetwork does what an installer of Kubernetes does to a machine.
func (n *Node) prepareNetwork() error {
	err := n.host.Do(func() error {
		for _, name := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
			if err := os.WriteFile(filepath.Join("/proc/sys/net", name), []byte("1"), 0); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("turning forwarding on: %w", err)
	}
	// Routing comes before the translation of Services' addresses, and there
	// is no default route.
	for _, r := range n.cluster.options.Family.choose(serviceRange4, serviceRange6) {
		if err := n.host.Route(r, zeroAddr); err != nil {
			return err
		}
	}
	return n.routeToOthers()
}
