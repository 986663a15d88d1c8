#!/usr/bin/env bash
# Copyright The Selvage Authors.
# SPDX-License-Identifier: Apache-2.0
# What is generated, tidied and rendered must be what is committed.
set -euo pipefail
cd "$(dirname "$0")/.."
kustomize=$1
before=$(git status --porcelain)

for module in . hack/tools test/monitoring; do
	(cd "$module" && go mod tidy)
done
unformatted=$(gofmt -l $(git ls-files '*.go'))
if [ -n "$unformatted" ]; then
	echo "gofmt these:" "$unformatted" >&2
	exit 1
fi
for dir in $(git ls-files 'config/**/kustomization.yaml' | xargs -n1 dirname); do
	"$kustomize" build "$dir" >/dev/null || { echo "config does not render: $dir" >&2; exit 1; }
done
after=$(git status --porcelain)
if [ "$before" != "$after" ]; then
	git --no-pager diff --stat
	printf 'make verify changed these files: commit them\n%s\n' "$after" >&2
	exit 1
fi
