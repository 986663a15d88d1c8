#!/usr/bin/env bash
# Copyright The Selvage Authors.
# SPDX-License-Identifier: Apache-2.0
# Known vulnerabilities that our programs can reach: hack/vulncheck/vulncheck.sh GOVULNCHECK PACKAGE...
# Anything found fails. Where the database cannot be reached nothing is known
# either way: that is said loudly, and does not fail, so that machines without a
# way out can run everything else. VULNDB is another database, such as a mirror
# or file:///FOLDER; VULNCHECK=required makes not knowing a failure.
set -euo pipefail
govulncheck=$1
shift
out=$(mktemp)
trap 'rm -f "$out"' EXIT

code=0
"$govulncheck" ${VULNDB:+-db "$VULNDB"} "$@" >"$out" 2>&1 || code=$?
if [ "$code" != 0 ] && grep -q '^govulncheck: fetching vulnerabilities: Get "' "$out"; then
	cat >&2 <<EOF
********************************************************************************
VULNERABILITIES WERE NOT CHECKED. Nothing is known about them, good or bad.
$(cat "$out")
Run make vulncheck where the database can be reached, or say where a copy is:
VULNDB=https://MIRROR or VULNDB=file:///FOLDER (https://go.dev/doc/security/vuln/database)
********************************************************************************
EOF
	[ "${VULNCHECK:-}" = required ] && exit 1
	exit 0
fi
cat "$out"
exit "$code"
