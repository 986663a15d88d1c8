#!/usr/bin/env bash
# Copyright The Selvage Authors.
# SPDX-License-Identifier: Apache-2.0
# Every test that runs within minutes: pure ones, and those on a real API
# server and a real kernel, which need root for network namespaces.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "$(id -u)" != 0 ]; then
	echo "make test: the tests of datapath, agent and CNI make network namespaces and need root: sudo make test" >&2
	exit 1
fi
hack/setup.sh

# The control plane's programs first, so that their building, which takes
# minutes the first time, is not taken for a slow test.
go run ./hack/cluster binaries
make --no-print-directory build

# Not from the cache: what a kernel does is not among its keys.
gotest=(go test -count=1 -timeout 20m)

# Two lanes, for two cores: the longest suites in one, and in the other every
# other package, one after another, so that no two of them load the kernel at
# once. What runs several goroutines of ours does so under the race detector,
# which needs cgo; what is pure, or runs programs of ours, goes without.
failed=0
CGO_ENABLED=0 "${gotest[@]}" -p 1 "$@" ./test/e2e/controller ./test/e2e/kubectl -skip '^TestTwoControllers$' &
longest=$!
trap 'kill "$longest" 2>/dev/null || true' EXIT
# Installing and real nodes, and models and simulations, have targets of their
# own: make e2e, make proof.
all=$(go list ./... | grep -v -E '/test/(e2e/(controller|kubectl|install|gitops|helm|nodes|lifecycle|machines|quickstart|restore|chaos|skew|web)|model|museum|sim(/.*)?)$')
raced='/(controllers|node-agent/.*|cmd/.*|hack/cluster/(hosts|nodes|processes)|test/witness)$'
# shellcheck disable=SC2046 # one word a package
CGO_ENABLED=0 "${gotest[@]}" -p 1 "$@" $(grep -v -E "$raced" <<<"$all") || failed=1
# Alerts and dashboard, with the Prometheus library: a module of its own.
(cd test/monitoring && CGO_ENABLED=0 "${gotest[@]}" "$@" ./...) || failed=1
echo "under the race detector"
# shellcheck disable=SC2046
CGO_ENABLED=1 "${gotest[@]}" -race -p 1 "$@" $(grep -E "$raced" <<<"$all") || failed=1
echo "two controllers at once, without leader election"
CGO_ENABLED=1 "${gotest[@]}" -race "$@" ./test/e2e/controller -run '^TestTwoControllers$' || failed=1
wait "$longest" || failed=1
trap - EXIT
exit "$failed"
