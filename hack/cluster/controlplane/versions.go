// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package controlplane

import (
	"fmt"
	"os"
	"strings"
)

// What is booted. hack/cluster/binaries pins the same versions.
const (
	KubernetesVersion = "v1.37.2"
	// OldestKubernetesVersion is that of the oldest API server that Selvage is
	// tested on: docs/upgrade.md says why that one.
	OldestKubernetesVersion = "v1.32.2"
	EtcdVersion             = "v3.7.3"
	ContainerdVersion       = "v2.4.2"
)

// KubernetesVariable is the environment's word for which of them a control
// plane is: newest (the default) or oldest.
const KubernetesVariable = "SELVAGE_KUBERNETES"

// kubernetesRelease is a version of it, and the module that pins it.
type kubernetesRelease struct{ version, module string }

var (
	newest = kubernetesRelease{KubernetesVersion, modules + "kubernetes"}
	oldest = kubernetesRelease{OldestKubernetesVersion, modules + "kubernetes-oldest"}
)

func chosenKubernetes() (kubernetesRelease, error) {
	switch word := os.Getenv(KubernetesVariable); word {
	case "", "newest":
		return newest, nil
	case "oldest":
		return oldest, nil
	default:
		return kubernetesRelease{}, fmt.Errorf("%s=%s: it is newest (%s) or oldest (%s)", KubernetesVariable, word, newest.version, oldest.version)
	}
}

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

func programs(k kubernetesRelease, paths *Paths) []program {
	etcd := program{
		Build:   Build{Name: "etcd", Module: modules + "etcd", Version: EtcdVersion, Package: "go.etcd.io/etcd/server/v3", Took: "half a minute"},
		envtest: true, path: &paths.Etcd,
		ask: []string{"--version"}, says: "etcd Version: " + strings.TrimPrefix(EtcdVersion, "v"),
	}
	server := k.program("kube-apiserver", "4 to 7 minutes", &paths.APIServer)
	manager := k.program("kube-controller-manager", "1 minute", &paths.ControllerManager)
	kubectl := k.program("kubectl", "1 minute", &paths.Kubectl)
	kubectl.ask, kubectl.says = []string{"version", "--client"}, "Client Version: "+k.version
	server.envtest, manager.envtest, kubectl.envtest = true, true, true
	return []program{etcd, server, manager, kubectl}
}

func nodePrograms(paths *NodePaths) []program {
	return []program{
		newest.program("kube-scheduler", "1 minute", &paths.Scheduler),
		newest.program("kube-proxy", "1 minute", &paths.Proxy),
		newest.program("kubelet", "2 minutes", &paths.Kubelet),
		containerdProgram("containerd", "2 minutes", "containerd github.com/containerd/containerd/v2 "+ContainerdVersion, &paths.Containerd),
		containerdProgram("containerd-shim-runc-v2", "10 seconds", "Version:  "+ContainerdVersion, &paths.Shim),
		containerdProgram("ctr", "10 seconds", "ctr github.com/containerd/containerd/v2 "+ContainerdVersion, &paths.Ctr),
	}
}

func (k kubernetesRelease) program(name, took string, path *string) program {
	return program{
		Build: Build{Name: name, Module: k.module, Version: k.version, Package: "k8s.io/kubernetes/cmd/" + name, Took: took},
		ask:   []string{"--version"}, says: "Kubernetes " + k.version, path: path,
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
