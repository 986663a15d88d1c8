//go:build tools

// Package binaries pins what the upstream tests are built from: their test
// binary, what runs it, and the programs of their test images.
package binaries

import (
	_ "github.com/onsi/ginkgo/v2/ginkgo"
	_ "k8s.io/kubernetes/test/e2e"
	_ "k8s.io/kubernetes/test/images/agnhost"
	_ "k8s.io/kubernetes/test/images/regression-issue-74839"
)
