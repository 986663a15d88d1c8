#!/usr/bin/env bash
# Copyright The Selvage Authors.
# SPDX-License-Identifier: Apache-2.0
# Runs every fuzz target for a while, one after another: hack/fuzz.sh [TIME [WORD...]]
# With words, only the targets whose package or name has one of them. A finding
# is left in the package's testdata/fuzz, to be committed with what mends it.
# FUZZKEEP=20 also keeps about so many there of the inputs that led somewhere new.
# The agent's socket answers root alone, so its target needs root.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-20s}
words=${*:2}

wanted() {
	[ -z "$words" ] && return
	for word in $words; do
		[[ $1 == *"$word"* ]] && return
	done
	return 1
}

# keep copies some of what go's cache has, from the smallest to the largest.
keep() {
	local from into n
	from=$(go env GOCACHE)/fuzz/$(go list "$1")/$2
	into=$1/testdata/fuzz/$2
	mkdir -p "$into"
	[ -d "$from" ] && [ "$(find "$into" -type f | wc -l)" -lt "$FUZZKEEP" ] || return 0
	n=$(find "$from" -type f -size -9 | wc -l)
	find "$from" -type f -size -9 -printf '%s %p\n' | sort -n | cut -d' ' -f2- |
		awk -v most="$FUZZKEEP" -v n="$n" 'int((NR - 1) * most / n) != int((NR - 2) * most / n) || NR == 1 || n <= most' |
		xargs -r cp -t "$into"
}

failed=0
out=$(mktemp)
trap 'rm -f "$out"' EXIT
targets=0
while read -r dir; do
	for target in $(grep -hoE '^func Fuzz[A-Za-z0-9_]*' "$dir"/*_test.go | cut -d' ' -f2 | sort -u); do
		wanted "$dir $target" || continue
		targets=$((targets + 1))
		echo "fuzzing $dir $target for $time"
		# The last line of progress says how much was tried.
		if ! go test "$dir" -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 1000x -parallel "${FUZZPARALLEL:-$(nproc)}" >"$out" 2>&1; then
			failed=1
			cat "$out"
		fi
		grep -E '^fuzz: elapsed' "$out" | tail -n 1 || true
		[ -z "${FUZZKEEP:-}" ] || keep "$dir" "$target"
	done
done < <(grep -rlE '^func Fuzz' --include='*_test.go' . | xargs -n1 dirname | sort -u)
echo "$targets targets"
[ "$targets" -gt 0 ] && exit "$failed"
echo "no target has any of: $words" >&2
exit 1
