// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package nodes

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/selvage-net/selvage/hack/cluster/nodes/machine"
)

// hierarchies are the machine's mounts of control groups.
type hierarchies struct {
	v1      []machine.Hierarchy // Group is the mount point
	unified string              // the mount point of version 2, if that has the controllers
}

func findHierarchies() (*hierarchies, error) {
	file, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("reading the mounts: %w", err)
	}
	defer file.Close()
	return parseHierarchies(file, controllers), nil
}

// parseHierarchies reads lines as proc(5) has them: the fields after the hyphen
// are type, source and super options.
func parseHierarchies(mounts io.Reader, controllers func(string) []string) *hierarchies {
	h := &hierarchies{}
	for lines := bufio.NewScanner(mounts); lines.Scan(); {
		before, after, _ := strings.Cut(lines.Text(), " - ")
		mount, kind := strings.Fields(before), strings.Fields(after)
		if len(mount) < 5 || len(kind) < 3 {
			continue
		}
		switch point := mount[4]; kind[0] {
		case "cgroup":
			options := strings.Join(slices.DeleteFunc(strings.Split(kind[2], ","), notOfHierarchy), ",")
			if !slices.ContainsFunc(h.v1, func(one machine.Hierarchy) bool { return one.Options == options }) {
				h.v1 = append(h.v1, machine.Hierarchy{Name: filepath.Base(point), Options: options, Group: point})
			}
		case "cgroup2":
			if slices.Contains(controllers(point), "memory") {
				h.unified = point
			}
		}
	}
	if h.unified != "" {
		h.v1 = nil // as kubelet, containerd and runc decide
	}
	return h
}

// notOfHierarchy tells options of a mount from those that name the hierarchy.
func notOfHierarchy(option string) bool {
	return slices.Contains([]string{"rw", "ro", "xattr"}, option) || strings.HasPrefix(option, "release_agent=")
}

// suffice says whether kubelets can run with them.
func (h *hierarchies) suffice() error {
	if h.unified == "" && !slices.ContainsFunc(h.v1, func(one machine.Hierarchy) bool { return one.Name == "memory" }) {
		return errors.New("kubelets need control groups with the memory controller: none are mounted")
	}
	return nil
}

func controllers(group string) []string {
	data, err := os.ReadFile(filepath.Join(group, "cgroup.controllers"))
	if err != nil {
		return nil
	}
	return strings.Fields(string(data))
}

// make makes the groups of one machine: parent/name in every hierarchy.
func (h *hierarchies) make(parent, name string) (machine.Cgroups, error) {
	c := machine.Cgroups{}
	for _, one := range h.v1 {
		group := filepath.Join(one.Group, parent, name)
		for _, dir := range []string{filepath.Dir(group), group} {
			if err := makeGroup(dir); err != nil {
				return c, err
			}
		}
		c.Hierarchies = append(c.Hierarchies, machine.Hierarchy{Name: one.Name, Options: one.Options, Group: group})
	}
	if h.unified == "" {
		return c, nil
	}
	c.Unified, c.Controllers = filepath.Join(h.unified, parent, name), controllers(h.unified)
	if err := os.MkdirAll(c.Unified, 0o755); err != nil {
		return c, fmt.Errorf("making the control group %s: %w", c.Unified, err)
	}
	for _, dir := range []string{h.unified, filepath.Dir(c.Unified)} {
		for _, controller := range c.Controllers {
			if err := set(filepath.Join(dir, "cgroup.subtree_control"), "+"+controller); err != nil {
				return c, fmt.Errorf("handing on the controller %s to children of %s: %w", controller, dir, err)
			}
		}
	}
	return c, nil
}

// makeGroup makes one group of version 1. A cpuset is empty at first, and takes
// no process until it has what its parent has.
func makeGroup(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("making the control group: %w", err)
	}
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		value, err := os.ReadFile(filepath.Join(filepath.Dir(dir), name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("reading a control group: %w", err)
		}
		if err := set(filepath.Join(dir, name), string(value)); err != nil {
			return fmt.Errorf("filling the control group %s: %w", dir, err)
		}
	}
	return nil
}

// set writes a file of a control group, which only the kernel can make.
func set(path, value string) error {
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteString(value)
	return errors.Join(err, file.Close())
}

// removeLimit is more than the kernel takes to finish what it killed.
const removeLimit = 20 * time.Second

// remove kills what is in the groups below and including name, and removes
// them: also what a killed program left, frozen or not.
func (h *hierarchies) remove(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, removeLimit)
	defer cancel()
	var last error
	err := wait.PollUntilContextCancel(ctx, 20*time.Millisecond, true, func(context.Context) (bool, error) {
		last = h.tryRemove(name)
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("removing the control groups %s: %w", name, errors.Join(err, last))
	}
	return nil
}

// tryRemove kills and thaws in all hierarchies first: what is killed in one may
// be frozen in another.
func (h *hierarchies) tryRemove(name string) error {
	var trees [][]string
	for _, point := range h.points() {
		groups, err := tree(filepath.Join(point, name))
		if err != nil {
			return err
		}
		for _, group := range groups {
			if err := killGroup(group); err != nil {
				return err
			}
		}
		trees = append(trees, groups)
	}
	for _, groups := range trees {
		for _, group := range slices.Backward(groups) {
			if err := os.Remove(group); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// tree lists a group and those below it, parents first.
func tree(root string) (groups []string, err error) {
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // gone by itself
		}
		if err == nil && entry.IsDir() {
			groups = append(groups, path)
		}
		return err
	})
	return groups, err
}

func killGroup(group string) error {
	data, err := os.ReadFile(filepath.Join(group, "cgroup.procs"))
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENODEV):
		return nil // gone by itself
	case errors.Is(err, unix.EOPNOTSUPP):
		return nil // a group of threads, whose processes the group above lists
	case err != nil:
		return fmt.Errorf("listing the processes of %s: %w", group, err)
	}
	for _, word := range strings.Fields(string(data)) {
		pid, err := strconv.Atoi(word)
		if err != nil || pid <= 1 {
			continue
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("killing process %d of %s: %w", pid, group, err)
		}
	}
	// The dead do not leave a freezer.
	for name, thawed := range map[string]string{"freezer.state": "THAWED", "cgroup.freeze": "0"} {
		if err := set(filepath.Join(group, name), thawed); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("thawing %s: %w", group, err)
		}
	}
	return nil
}
