#!/usr/bin/env bash
# Copyright The Selvage Authors.
# SPDX-License-Identifier: Apache-2.0
# Installs the few programs of the distribution that the tests use, if any of
# them is missing. Elsewhere than on Debian it says which ones they are.
set -euo pipefail

missing=()
needs() { # PROGRAM PACKAGE...
	command -v "$1" >/dev/null || missing+=("${@:2}")
}
needs make make
needs gcc gcc libc6-dev # the race detector is linked with it
needs spin spin # the models of the protocol are verified with it
needs ip iproute2
needs iptables iptables # portmap calls it
needs nft nftables # kube-proxy calls it
needs runc runc    # containerd calls it
needs chromium chromium fonts-dejavu-core # the web page is tested in it
# The plugins that follow ours in a chain.
needs /usr/lib/cni/portmap containernetworking-plugins

[ ${#missing[@]} -gt 0 ] || exit 0
if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
	echo "missing, please install: ${missing[*]} (Debian's names)" >&2
	exit 1
fi
echo "installing ${missing[*]}"
apt-get update -q
DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "${missing[@]}"
