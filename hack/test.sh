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
command -v gcc >/dev/null || { echo "make test: the race detector needs gcc: apt-get install gcc" >&2; exit 1; }

# The control plane's programs first, so that their building, which takes
# minutes the first time, is not taken for a slow test.
go run ./hack/cluster binaries
make --no-print-directory build

# One package after another: each e2e suite has a control plane and a kernel to
# itself. Not from the cache: what a kernel does is not among its keys.
go test -count=1 -p 1 -timeout 20m "$@" ./...
echo "once more, under the race detector: what runs on several goroutines"
CGO_ENABLED=1 go test -count=1 -race -p 1 -timeout 20m "$@" ./controllers/... ./node-agent/addresses/... ./node-agent/cniserver/... ./node-agent/membership/...
echo "two controllers at once, without leader election, under the race detector"
CGO_ENABLED=1 go test -count=1 -race -timeout 20m "$@" ./test/e2e/controller -run '^TestTwoControllers$'
