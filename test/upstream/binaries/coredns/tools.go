//go:build tools

// Package binaries pins the cluster's DNS server.
package binaries

import _ "github.com/coredns/coredns"
