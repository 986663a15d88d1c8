// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package machines

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"

	"github.com/selvage-net/selvage/hack/cluster/nodes"
)

// asProgram lets this test be the program that is killed.
const asProgram = "MACHINES_BOOT_IN"

func TestMain(m *testing.M) {
	if dir := os.Getenv(asProgram); dir != "" {
		if err := bootAndPause(dir); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		fmt.Println("booted")
		select {} // until it is killed
	}
	goleak.VerifyTestMain(m)
}

func bootAndPause(dir string) error {
	ctx := context.Background()
	c, err := nodes.Up(ctx, nodes.Options{Dir: dir, Count: 2})
	if err != nil {
		return err
	}
	// The dead do not leave a freezer: the hardest thing to clean up.
	return c.Nodes()[1].Pause(ctx)
}

// TestKilled kills the program that runs a cluster, and boots in its place.
func TestKilled(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	kill := func() {
		program := exec.CommandContext(t.Context(), os.Args[0])
		program.Env = append(os.Environ(), asProgram+"="+dir)
		out, err := program.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := program.Start(); err != nil {
			t.Fatal(err)
		}
		if said, err := bufio.NewReader(out).ReadString('\n'); said != "booted\n" {
			t.Fatalf("the program says %q: %v", said, err)
		}
		if err := program.Process.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		_ = program.Wait() // it was killed
	}
	kill()
	// Another cluster runs meanwhile, and is not what is swept away.
	other := boot(t, t.TempDir(), nodes.Options{Count: 1})
	again := boot(t, dir, nodes.Options{Count: 2})
	again.pod("pod", "node2")
	other.pod("pod", "node1")
	if _, err := nodes.Up(t.Context(), nodes.Options{Dir: dir}); err == nil {
		t.Error("a second cluster in the same folder")
	}
	again.must(again.Down(t.Context()))
	leftovers(t, dir)

	kill()
	if err := nodes.Clear(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	leftovers(t, dir)
	other.awaitPod("pod", "")
}

// leftovers fails the test if anything of the cluster in dir is still there.
// Processes that were killed by their parent's death may take a moment.
func leftovers(t *testing.T, dir string) {
	t.Helper()
	c := &cluster{t: t}
	c.until("nothing is left", func(context.Context) error {
		return errors.Join(processesOf(dir), mountsOf(dir), groupsOf(dir), linksOfSwitches())
	})
	disks, err := filepath.Glob(filepath.Join(dir, "nodes", "*", "disk"))
	if err != nil || len(disks) > 0 {
		t.Errorf("disks are left: %v %v", disks, err)
	}
}

func processesOf(dir string) error {
	lines, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return err
	}
	for _, path := range lines {
		process := filepath.Dir(path)
		// Not only by arguments: those of what runs in nodes do not name dir.
		for _, name := range []string{"cmdline", "mountinfo"} {
			data, err := os.ReadFile(filepath.Join(process, name))
			if err == nil && strings.Contains(string(data), dir) && process != fmt.Sprintf("/proc/%d", os.Getpid()) {
				return fmt.Errorf("%s has %s in its %s", process, dir, name)
			}
		}
	}
	return nil
}

func mountsOf(dir string) error {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err == nil && strings.Contains(string(data), dir) {
		err = fmt.Errorf("mounts of %s are left:\n%s", dir, data)
	}
	return err
}

func groupsOf(dir string) error {
	name, err := nodes.GroupName(dir)
	if err != nil {
		return err
	}
	var found []string
	for _, pattern := range []string{"/sys/fs/cgroup/*/", "/sys/fs/cgroup/"} {
		groups, err := filepath.Glob(pattern + name)
		if err != nil {
			return err
		}
		found = append(found, groups...)
	}
	if len(found) > 0 {
		return fmt.Errorf("control groups are left: %s", strings.Join(found, ", "))
	}
	return nil
}

// linksOfSwitches finds the switch and its ports in the machine's own
// namespace, where none belong.
func linksOfSwitches() error {
	links, err := netlink.LinkList()
	if err != nil {
		return err
	}
	for _, l := range links {
		if name := l.Attrs().Name; name == "switch" || strings.HasPrefix(name, "port") {
			return fmt.Errorf("the machine has a %s %s", l.Type(), name)
		}
	}
	return nil
}
