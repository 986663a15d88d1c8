#!/usr/bin/env bash
# Copyright The Selvage Authors.
# SPDX-License-Identifier: Apache-2.0
# Selvage on real nodes: kubelet, containerd and kube-proxy in namespaces of
# this machine. `hack/e2e.sh short` leaves out what takes minutes a test, and
# `hack/e2e.sh -ginkgo.focus=REGEXP` runs a part of test/e2e/nodes.
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
# In one order, so that what fails once fails again. -ginkgo.seed=N: another.
verbose=(-v -ginkgo.no-color -ginkgo.v -ginkgo.seed=1795447437)
case "${1-all}" in
-*) exec go test -count=1 -timeout 60m ./test/e2e/nodes "${verbose[@]}" "$@" ;;
all) some=() ;;
short)
	some=(-ginkgo.label-filter='!long')
	echo "left out, since they take minutes (make e2e runs them):" $(grep -rl 'Label("long")' test/e2e)
	;;
*)
	echo "usage: hack/e2e.sh [short | FLAGS]" >&2
	exit 2
	;;
esac
# A control plane that loses its memory, and one in which everything breaks for a
# minute and a half, from one seed. make chaos
# goes on for as long as one likes.
go test -count=1 -timeout 15m -p 1 ./test/e2e/restore ./test/e2e/chaos -v
go run ./test/e2e/chaos --minutes 1.5 --seed 1
# The version before, and this one, in every mixture. It is built from history.
go test -count=1 -timeout 20m ./test/e2e/skew -v
# The oldest API server, which takes minutes to build once.
[ "${1-all}" = short ] || hack/compat.sh
# What applying and deleting the manifests does, and the chart.
go test -count=1 -timeout 20m -p 1 ./test/e2e/install ./test/e2e/helm
# Pipelines that declare removals, revert, prune and force them.
go test -count=1 -timeout 20m ./test/e2e/gitops
# The web page, in a browser.
go test -count=1 -timeout 20m ./test/e2e/web
# The nodes by themselves first: what fails there is not Selvage's.
go test -count=1 -timeout 20m ./test/e2e/machines
# A stranger who types what docs/quickstart.md says.
go test -count=1 -timeout 30m ./test/e2e/quickstart
go test -count=1 -timeout 20m ./test/e2e/lifecycle "${verbose[@]}"
go test -count=1 -timeout 60m ./test/e2e/nodes "${verbose[@]}" "${some[@]}"
