// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package nodes

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/selvage-net/selvage/hack/cluster/nodes/machine"
)

// freezer is where a machine is stopped: a file to write, one that says what
// is, and the words for both.
type freezer struct {
	set, get           string
	frozen, thawed     string
	isFrozen, isThawed string
}

func findFreezer(c machine.Cgroups) (freezer, error) {
	if c.Unified != "" {
		return freezer{
			set: filepath.Join(c.Unified, "cgroup.freeze"), frozen: "1", thawed: "0",
			get: filepath.Join(c.Unified, "cgroup.events"), isFrozen: "frozen 1", isThawed: "frozen 0",
		}, nil
	}
	for _, h := range c.Hierarchies {
		state := filepath.Join(h.Group, "freezer.state")
		if _, err := os.Stat(state); err == nil {
			return freezer{set: state, frozen: "FROZEN", thawed: "THAWED", get: state, isFrozen: "FROZEN", isThawed: "THAWED"}, nil
		}
	}
	return freezer{}, errors.New("this machine has no freezer control group")
}

// freeze stops or continues every process of the machine, and returns when all
// of them have stopped.
func freeze(ctx context.Context, c machine.Cgroups, frozen bool) error {
	f, err := findFreezer(c)
	if err != nil {
		return err
	}
	value, want := f.thawed, f.isThawed
	if frozen {
		value, want = f.frozen, f.isFrozen
	}
	ctx, cancel := context.WithTimeout(ctx, removeLimit)
	defer cancel()
	if err := set(f.set, value); err != nil {
		return err
	}
	return wait.PollUntilContextCancel(ctx, 5*time.Millisecond, true, func(context.Context) (bool, error) {
		data, err := os.ReadFile(f.get)
		return slices.Contains(strings.Split(string(data), "\n"), want), err
	})
}
