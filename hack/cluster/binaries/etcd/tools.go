//go:build tools

// Package binaries pins the etcd server.
package binaries

import _ "go.etcd.io/etcd/server/v3"
