// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package controlplane

import "strings"

// What is booted. hack/cluster/binaries pins the same versions.
const (
	KubernetesVersion = "v1.37.2"
	EtcdVersion       = "v3.7.3"
	ContainerdVersion = "v2.4.2"
)

// Paths are the programs of a control plane.
type Paths struct {
	Etcd              string
	APIServer         string
	ControllerManager string
	Kubectl           string
}

// NodePaths are the programs that a cluster with nodes has besides.
type NodePaths struct {
	Scheduler  string
	Kubelet    string
	Proxy      string
	Containerd string
	Shim       string
	Ctr        string
}

// program is one of them: how it is built, how it names its version, and where
// it was found.
type program struct {
	Build
	envtest bool     // setup-envtest has it
	ask     []string // arguments that make it print its version
	says    string   // a line of what it then prints
	path    *string
}

// modules is where the modules are that pin them.
const modules = "hack/cluster/binaries/"

func programs(paths *Paths) []program {
	etcd := program{
		Build:   Build{Name: "etcd", Module: modules + "etcd", Version: EtcdVersion, Package: "go.etcd.io/etcd/server/v3", Took: "half a minute"},
		envtest: true, path: &paths.Etcd,
		ask: []string{"--version"}, says: "etcd Version: " + strings.TrimPrefix(EtcdVersion, "v"),
	}
	server := kubernetesProgram("kube-apiserver", "4 to 7 minutes", &paths.APIServer)
	manager := kubernetesProgram("kube-controller-manager", "1 minute", &paths.ControllerManager)
	kubectl := kubernetesProgram("kubectl", "1 minute", &paths.Kubectl)
	kubectl.ask, kubectl.says = []string{"version", "--client"}, "Client Version: "+KubernetesVersion
	server.envtest, manager.envtest, kubectl.envtest = true, true, true
	return []program{etcd, server, manager, kubectl}
}

func nodePrograms(paths *NodePaths) []program {
	return []program{
		kubernetesProgram("kube-scheduler", "1 minute", &paths.Scheduler),
		kubernetesProgram("kube-proxy", "1 minute", &paths.Proxy),
		kubernetesProgram("kubelet", "2 minutes", &paths.Kubelet),
		containerdProgram("containerd", "2 minutes", "containerd github.com/containerd/containerd/v2 "+ContainerdVersion, &paths.Containerd),
		containerdProgram("containerd-shim-runc-v2", "10 seconds", "Version:  "+ContainerdVersion, &paths.Shim),
		containerdProgram("ctr", "10 seconds", "ctr github.com/containerd/containerd/v2 "+ContainerdVersion, &paths.Ctr),
	}
}

func kubernetesProgram(name, took string, path *string) program {
	return program{
		Build: Build{Name: name, Module: modules + "kubernetes", Version: KubernetesVersion, Package: "k8s.io/kubernetes/cmd/" + name, Took: took},
		ask:   []string{"--version"}, says: "Kubernetes " + KubernetesVersion, path: path,
	}
}

func containerdProgram(name, took, says string, path *string) program {
	return program{
		Build: Build{
			Name: name, Module: modules + "containerd", Version: ContainerdVersion, Package: "github.com/containerd/containerd/v2/cmd/" + name, Took: took,
			// Snapshotters that need C libraries or are of no use here.
			Tags: "no_btrfs,no_devmapper,no_zfs,no_aufs",
		},
		ask: []string{"-v"}, says: says, path: path,
	}
}
