// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"github.com/selvage-net/selvage/test/upstream/programs"
	"github.com/selvage-net/selvage/test/upstream/verdict"
)

type options struct {
	cni, encapsulation, focus, dir, proxyMode string
	procs, nodes                              int
	keep                                      bool
}

// What a cluster may be, that matters to what is left out.
const (
	vxlan  = "vxlan"
	direct = "direct"
	small  = "fewer than six nodes"
)

var kinds = []string{vxlan, direct, small, "nftables", "iptables"}

//go:embed left-out.yaml
var leftOut []byte

func (o *options) run(ctx context.Context, out io.Writer) error {
	if !slices.Contains([]string{selvage, reference}, o.cni) {
		return fmt.Errorf("--cni %s: say %s or %s", o.cni, selvage, reference)
	}
	if !slices.Contains([]string{vxlan, direct}, o.encapsulation) {
		return fmt.Errorf("--encapsulation %s: say %s or %s", o.encapsulation, vxlan, direct)
	}
	if o.nodes < zones {
		return fmt.Errorf("--nodes %d: say %d at least", o.nodes, zones)
	}
	focus, err := regexp.Compile(o.focus)
	if err != nil {
		return fmt.Errorf("--focus: %w", err)
	}
	cluster := []string{o.proxyMode}
	if o.cni == selvage {
		cluster = append(cluster, o.encapsulation)
	}
	if o.nodes < 2*zones {
		cluster = append(cluster, small)
	}
	list, err := verdict.ParseLeftOut(leftOut, cluster, kinds)
	if err != nil {
		return err
	}
	if o.dir, err = filepath.Abs(o.dir); err != nil {
		return err
	}
	paths, err := programs.Find(ctx, out)
	if err != nil {
		return err
	}
	s := &stage{options: o, out: out, programs: paths}
	err = s.up(ctx)
	if err == nil {
		err = o.test(ctx, s, list, focus)
	}
	if o.keep && s.cluster != nil {
		fmt.Fprintf(out, "error: %v\nthe cluster stays up until this is interrupted: export KUBECONFIG=%s\n", err, s.cluster.Kubeconfig)
		<-ctx.Done()
	}
	return errors.Join(err, s.down(ctx))
}

// test runs the tests on the stage.
func (o *options) test(ctx context.Context, s *stage, list verdict.LeftOut, focus *regexp.Regexp) error {
	suite := &suite{programs: s.programs, kubeconfig: s.cluster.Kubeconfig, kubectl: s.cluster.ControlPlane.Kubectl, dir: o.dir, nodes: o.nodes, out: s.out}
	start := time.Now()
	specs, err := suite.run(ctx, o.focus, list.Pattern(), o.procs)
	if err != nil {
		return err
	}
	v := verdict.Judge(specs, list, focus.MatchString)
	return errors.Join(o.report(s.out, v, time.Since(start)), v.Err())
}

// report prints what ran and what did not, and keeps it.
func (o *options) report(out io.Writer, v verdict.Verdict, took time.Duration) error {
	path := filepath.Join(o.dir, "summary.txt")
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("keeping the summary: %w", err)
	}
	defer file.Close()
	v.Print(io.MultiWriter(out, file))
	fmt.Fprintf(out, "%s of tests; reports: %s, %s and %s\n", took.Round(time.Second), path, filepath.Join(o.dir, junitReport), filepath.Join(o.dir, jsonReport))
	return nil
}
