#!/usr/bin/env bash
# Copyright The Selvage Authors.
# SPDX-License-Identifier: Apache-2.0
# Runs every fuzz target for a while, one after another.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-20s}
grep -rlE '^func Fuzz' --include='*_test.go' . | xargs -n1 dirname | sort -u | while read -r dir; do
	for target in $(grep -hoE '^func Fuzz[A-Za-z0-9_]*' "$dir"/*_test.go | cut -d' ' -f2); do
		echo "fuzzing $dir $target for $time"
		go test "$dir" -run '^$' -fuzz "^$target\$" -fuzztime "$time"
	done
done
