// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"regexp"
	"testing"

	"github.com/selvage-net/selvage/test/upstream/verdict"
)

func TestLeftOutIsWellFormed(t *testing.T) {
	list, err := verdict.ParseLeftOut(leftOut, kinds, kinds)
	if err != nil {
		t.Fatal(err)
	}
	pattern := regexp.MustCompile(list.Pattern())
	for _, runs := range []string{
		"[sig-network] Services should serve a basic endpoint from pods [Conformance]",
		"[sig-network] Networking Granular Checks: Pods should function for intra-pod communication: http [Conformance]",
		"[sig-network] DNS should provide DNS for services [Conformance]",
	} {
		if pattern.MatchString(runs) {
			t.Errorf("%s is left out", runs)
		}
		if !regexp.MustCompile(subjectPattern).MatchString(runs) {
			t.Errorf("%s is not chosen", runs)
		}
	}
}
