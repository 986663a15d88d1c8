#!/usr/bin/env bash
# Copyright The Selvage Authors.
# SPDX-License-Identifier: Apache-2.0
# Selvage on the oldest API server that it supports: what kinds and policies let
# pass and refuse, and the whole story with controller, agents and traffic.
# docs/upgrade.md names the versions. The server is built once, in some minutes.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "$(id -u)" != 0 ]; then
	echo "make compat: hosts are network namespaces, which takes root: sudo make compat" >&2
	exit 1
fi
export SELVAGE_KUBERNETES=oldest
go run ./hack/cluster binaries
echo "left out: StorageVersionMigration, which the oldest does not serve"
go test -count=1 -timeout 20m ./test/e2e/api -ginkgo.label-filter='!migrator'
go run ./hack/demo
