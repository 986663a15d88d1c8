// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package web

import (
	"context"

	. "github.com/onsi/ginkgo/v2"
)

// grants are the stage's ranges: who owns them, and how many of them are used.
// host4 is nearly full, and a part of the pool is free.
var grants = []struct {
	pool, cidr, owner string
	used              int64
}{
	{"default", "10.32.0.0/23", "host1", 402}, {"default", "10.32.2.0/23", "host2", 190},
	{"default", "10.32.4.0/23", "host3", 331}, {"default", "10.32.8.0/22", "host3", 288},
	{"default", "10.32.6.0/24", "host4", 249}, {"default", "10.32.7.0/24", "host5", 64}, {"default", "10.32.12.0/23", "host6", 117},
	{"v6", "fd00:10::/120", "host1", 110}, {"v6", "fd00:10::100/120", "host2", 96},
	{"v6", "fd00:10::200/120", "host3", 74}, {"v6", "fd00:10::300/120", "host5", 31},
}

// setStage makes two pools and six peers that serve.
func setStage(ctx context.Context) {
	GinkgoHelper()
	cluster.Pool(ctx, "default", "10.32.0.0/20", 24, 22, nil)
	cluster.Pool(ctx, "v6", "fd00:10::/112", 120, 118, nil)
	for name := range cluster.Hosts {
		cluster.Join(ctx, name)
	}
	for _, g := range grants {
		cluster.Grant(ctx, g.pool, g.cidr, g.owner, g.used)
	}
	cluster.Lead(ctx)
}
