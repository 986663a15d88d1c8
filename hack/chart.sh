#!/usr/bin/env bash
# Copyright The Selvage Authors.
# SPDX-License-Identifier: Apache-2.0
# Copies into the chart what it has in common with config/: kinds, rights,
# policies, and what needs no values.
set -euo pipefail
cd "$(dirname "$0")/.."
files=charts/selvage/files
rm -rf "$files"
copy() { # TO FROM...
	mkdir -p "$files/$1"
	cp "${@:2}" "$files/$1/"
}
copy crd config/crd/bases/*.yaml
copy crd-guard config/crd-guard/selvage-crds-stay.yaml
copy rbac config/rbac/{service_accounts,role,controller_bindings,agent_role,people_roles}.yaml
copy node-agent config/node-agent/cni_conflist.yaml
copy manager config/manager/metrics_service.yaml
copy monitoring config/monitoring/{monitors,rules}.yaml config/monitoring/dashboard.json
copy admission config/admission/*.yaml
rm "$files/admission/kustomization.yaml"
