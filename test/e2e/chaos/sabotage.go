// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"math/rand/v2"
)

func (r *run) tearDown(ctx context.Context, rng *rand.Rand) { <-ctx.Done() }
