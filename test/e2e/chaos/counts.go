// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"
)

// counts are of what was done.
type counts struct {
	mu         sync.Mutex
	faults     map[string]int
	operations map[string]int
	took       time.Duration
}

func (c *counts) fault(name string)     { c.add(&c.faults, name) }
func (c *counts) operation(name string) { c.add(&c.operations, name) }

func (c *counts) phase(elect bool) {
	c.operation(fmt.Sprintf("controllers restarted, leader election %t", elect))
}

func (c *counts) add(to *map[string]int, name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if *to == nil {
		*to = map[string]int{}
	}
	(*to)[name]++
}

func (c *counts) totals() (faults, operations int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return sum(c.faults), sum(c.operations)
}

func sum(counts map[string]int) (total int) {
	for _, n := range counts {
		total += n
	}
	return total
}

func table(out io.Writer, title string, counts map[string]int) {
	fmt.Fprintf(out, "%s: %d\n", title, sum(counts))
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		fmt.Fprintf(out, "  %6d  %s\n", counts[name], name)
	}
}
