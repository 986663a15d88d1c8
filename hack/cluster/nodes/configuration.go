// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package nodes

import (
	"bytes"
	"embed"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"text/template"

	"github.com/selvage-net/selvage/hack/cluster/nodes/machine"
)

// PauseImage is what holds a pod's namespaces.
const PauseImage = "localhost/selvage-pause:1"

//go:embed configuration
var configurationFiles embed.FS

// settings are what the templates in configuration/ ask for.
type settings struct {
	Node, Dir, PauseImage, ProxyMode string
	PodRanges, BindAddress           string
	DNS                              []netip.Addr
	FastDetection                    bool
	Subnets                          []netip.Prefix // for the reference CNI: the node's part of the pod ranges
}

// configure writes what the node's programs read: anew at each start.
func (n *Node) configure() error {
	if err := os.RemoveAll(n.path("configuration")); err != nil {
		return fmt.Errorf("removing the old configuration of %s: %w", n.Name, err)
	}
	if err := os.MkdirAll(n.path("configuration"), 0o755); err != nil {
		return fmt.Errorf("making the configuration of %s: %w", n.Name, err)
	}
	o := &n.cluster.options
	s := settings{
		Node: n.Name, Dir: machine.ConfigurationDir, PauseImage: PauseImage, ProxyMode: o.ProxyMode,
		PodRanges: join(o.PodRanges), BindAddress: "0.0.0.0", FastDetection: !o.KubernetesTimings,
	}
	if o.Family != IPv4 {
		s.BindAddress = "::"
	}
	for _, r := range o.Family.choose(serviceRange4, serviceRange6) {
		s.DNS = append(s.DNS, tenth(r))
	}
	for _, name := range []string{"kubelet.yaml", "kube-proxy.yaml", "containerd.toml"} {
		if err := s.render(name, n.path("configuration", name)); err != nil {
			return err
		}
	}
	return n.writeAccess()
}

func (s *settings) render(name, path string) error {
	tmpl, err := template.ParseFS(configurationFiles, "configuration/"+name)
	if err != nil {
		return fmt.Errorf("reading the template of %s: %w", name, err)
	}
	out := &bytes.Buffer{}
	if err := tmpl.Execute(out, s); err != nil {
		return fmt.Errorf("filling the template of %s: %w", name, err)
	}
	if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return nil
}

// tenth is where clusters have their DNS server by custom.
func tenth(r netip.Prefix) netip.Addr {
	address := r.Masked().Addr()
	for range 10 {
		address = address.Next()
	}
	return address
}

// writeAccess gives kubelet and kube-proxy their credentials.
func (n *Node) writeAccess() error {
	cp, dir := n.cluster.ControlPlane, n.path("configuration")
	if err := cp.KubeconfigInside(filepath.Join(dir, "kubelet.kubeconfig"), "system:node:"+n.Name, "system:nodes"); err != nil {
		return err
	}
	if err := cp.KubeconfigInside(filepath.Join(dir, "kube-proxy.kubeconfig"), "system:kube-proxy"); err != nil {
		return err
	}
	cert, key, err := cp.KubeletServing(n.Name, n.Addresses()...)
	if err != nil {
		return err
	}
	for name, data := range map[string][]byte{"ca.crt": cp.Authority(), "kubelet.crt": cert, "kubelet.key": key} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return fmt.Errorf("writing the credentials of %s: %w", n.Name, err)
		}
	}
	return nil
}

// services are what runs on a node. Kubelet and kube-proxy wait for the images
// that a new disk lacks.
func (n *Node) services(images []string) []machine.Service {
	conf := func(name string) string { return filepath.Join(machine.ConfigurationDir, name) }
	services := []machine.Service{{
		Name: "containerd", Args: []string{"--config=" + conf("containerd.toml")}, Socket: containerdSocket,
	}}
	for _, image := range images {
		services = append(services, machine.Service{
			Name: "import-" + image, Program: "ctr", Once: true, Args: importArgs(filepath.Join(machine.ImagesDir, image)),
		})
	}
	return append(services,
		machine.Service{Name: "kubelet", Args: []string{
			"--config=" + conf("kubelet.yaml"), "--kubeconfig=" + conf("kubelet.kubeconfig"),
			"--hostname-override=" + n.Name, "--node-ip=" + join(n.Addresses()), "--v=2",
		}},
		machine.Service{Name: "kube-proxy", Args: []string{"--config=" + conf("kube-proxy.yaml"), "--hostname-override=" + n.Name, "--v=2"}},
	)
}
