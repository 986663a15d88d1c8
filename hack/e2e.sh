#!/usr/bin/env bash
# Copyright The Selvage Authors.
# SPDX-License-Identifier: Apache-2.0
# Selvage on real nodes: kubelet, containerd and kube-proxy in namespaces of
# this machine. `hack/e2e.sh -ginkgo.focus=REGEXP` runs a part of it.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "$(id -u)" != 0 ]; then
	echo "make e2e: nodes are namespaces and control groups, which takes root: sudo make e2e" >&2
	exit 1
fi
hack/setup.sh
# The programs first, so that their building, which takes minutes the first
# time, is not taken for a slow test.
go run ./hack/cluster binaries --nodes
# The nodes by themselves first: what fails there is not Selvage's.
[ $# -gt 0 ] || go test -count=1 -timeout 20m ./test/e2e/machines
go test -count=1 -timeout 60m ./test/e2e/nodes -v -ginkgo.no-color -ginkgo.v "$@"
[ $# -gt 0 ] || go test -count=1 -timeout 20m ./test/e2e/lifecycle -v -ginkgo.no-color -ginkgo.v
