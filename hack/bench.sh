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
make --no-print-directory build
mkdir -p bench
go test -run '^$' -bench AllocateRelease -benchtime 1s -count 5 ./node-agent/addresses | tee bench/allocation.txt
go run ./test/bench -o bench/results.txt "$@"
