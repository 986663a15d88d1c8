//go:build tools

// Package binaries pins the programs of a real Kubernetes' control plane, in
// the oldest version that Selvage is tested on.
package binaries

import (
	_ "k8s.io/kubernetes/cmd/kube-apiserver"
	_ "k8s.io/kubernetes/cmd/kube-controller-manager"
	_ "k8s.io/kubernetes/cmd/kubectl"
)
