#!/usr/bin/env bash
# Copyright The Selvage Authors.
# SPDX-License-Identifier: Apache-2.0
# Allocation in process, then CNI ADD and DEL beside Debian's bridge and
# host-local. Arguments go to the latter (-rounds, -pods, -check).
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "$(id -u)" != 0 ]; then
	echo "make bench: it makes network namespaces and needs root: sudo make bench" >&2
	exit 1
fi
if [ ! -x /usr/lib/cni/bridge ]; then
	echo "make bench: there is nothing to compare with: apt-get install containernetworking-plugins" >&2
	exit 1
fi
mkdir -p bin bench
CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o bin/selvage ./cmd/selvage
go test -run '^$' -bench AllocateRelease -benchtime 1s -count 3 ./node-agent/addresses | tee bench/allocation.txt
go run ./test/bench -o bench/results.txt "$@"
