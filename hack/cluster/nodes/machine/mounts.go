// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package machine

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// mount builds the machine's view. The root is the surrounding machine's,
// read-only: a node cannot leave anything on it.
func (s *Spec) mount() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("leaving the surrounding machine's mounts: %w", err)
	}
	// Taken before anything hides their paths or makes them read-only.
	sources, err := s.take()
	if err != nil {
		return err
	}
	for _, step := range []func() error{
		func() error { return setReadOnly("/", true) },
		func() error { return setReadOnly("/dev", false) },
		func() error { return fresh("proc", "/proc", "") },
		func() error { return fresh("sysfs", "/sys", "") },
		s.mountCgroups,
		func() error { return fresh("bpf", "/sys/fs/bpf", "") },
		func() error { return fresh("tmpfs", "/run", "mode=755") },
		func() error { return place(sources) },
		s.mountDisk,
		func() error { return fresh("tmpfs", "/tmp", "mode=1777") },
		s.ownSysctls,
		// Pods' mounts are to reach the node and back, as with systemd.
		func() error { return unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, "") },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// source is a detached mount and where it goes.
type source struct {
	fd     int
	target string
	file   bool
}

func (s *Spec) take() ([]source, error) {
	var sources []source
	take := func(path, target string, file bool) error {
		fd, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
		if err != nil {
			return fmt.Errorf("opening %s: %w", path, err)
		}
		sources = append(sources, source{fd: fd, target: target, file: file})
		return nil
	}
	for target, path := range map[string]string{
		diskDir: s.Disk, ConfigurationDir: s.Configuration, logsDir: s.Logs, ImagesDir: s.Images, pluginsDir: s.Plugins,
	} {
		if err := take(path, target, false); err != nil {
			return nil, err
		}
	}
	for name, path := range s.Programs {
		if err := take(path, filepath.Join(ProgramsDir, name), true); err != nil {
			return nil, err
		}
	}
	return sources, nil
}

func place(sources []source) error {
	for _, from := range sources {
		if err := makePoint(from.target, from.file); err != nil {
			return err
		}
		if err := unix.MoveMount(from.fd, "", unix.AT_FDCWD, from.target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
			return fmt.Errorf("placing %s: %w", from.target, err)
		}
		unix.Close(from.fd)
	}
	return nil
}

// makePoint makes something to mount on.
func makePoint(path string, file bool) error {
	dir := path
	if file {
		dir = filepath.Dir(path)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making %s: %w", dir, err)
	}
	if !file {
		return nil
	}
	return os.WriteFile(path, nil, 0o755)
}

func setReadOnly(path string, readOnly bool) error {
	attr := &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY}
	if readOnly {
		attr = &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
	}
	if err := unix.MountSetattr(unix.AT_FDCWD, path, unix.AT_RECURSIVE, attr); err != nil {
		return fmt.Errorf("setting whether %s is read-only: %w", path, err)
	}
	return nil
}

func fresh(kind, target, options string) error {
	if err := unix.Mount(kind, target, kind, 0, options); err != nil {
		return fmt.Errorf("mounting %s at %s: %w", kind, target, err)
	}
	return nil
}

func bind(from, to string) error {
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mounting %s at %s: %w", from, to, err)
	}
	return nil
}

// overlay puts a folder of the disk over one of the surrounding machine.
func overlay(lower, name, target string) error {
	dir := filepath.Join(diskDir, name)
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s/%s,workdir=%s/%s", lower, dir, Upper, dir, work)
	if err := unix.Mount("overlay", target, "overlay", 0, options); err != nil {
		return fmt.Errorf("mounting the machine's own %s (%s): %w", target, options, err)
	}
	return nil
}

func (s *Spec) mountDisk() error {
	if err := overlay("/etc", DiskEtc, "/etc"); err != nil {
		return err
	}
	for _, own := range [][2]string{{DiskLib, "/var/lib"}, {DiskLog, "/var/log"}, {DiskOpt, "/opt"}, {DiskCNI, "/etc/cni"}} {
		if err := bind(filepath.Join(diskDir, own[0]), own[1]); err != nil {
			return err
		}
	}
	return overlay(pluginsDir, DiskPlugins, "/opt/cni/bin")
}

func (s *Spec) mountCgroups() error {
	const root = "/sys/fs/cgroup"
	if s.Cgroups.Unified != "" {
		if err := fresh("cgroup2", root, ""); err != nil {
			return err
		}
		return s.Cgroups.delegate(root)
	}
	if err := fresh("tmpfs", root, "mode=755"); err != nil {
		return err
	}
	for _, h := range s.Cgroups.Hierarchies {
		dir := filepath.Join(root, h.Name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("making %s: %w", dir, err)
		}
		if err := fresh("cgroup", dir, h.Options); err != nil {
			return err
		}
		for one := range strings.SplitSeq(h.Name, ",") {
			if one == h.Name {
				continue
			}
			if err := os.Symlink(h.Name, filepath.Join(root, one)); err != nil {
				return fmt.Errorf("naming the controller %s: %w", one, err)
			}
		}
	}
	return nil
}

// delegate lets groups below the root have controllers: version 2 forbids that
// as long as the root itself holds processes.
func (c Cgroups) delegate(root string) error {
	leaf := filepath.Join(root, "init")
	if err := os.MkdirAll(leaf, 0o755); err != nil {
		return fmt.Errorf("making %s: %w", leaf, err)
	}
	if err := os.WriteFile(filepath.Join(leaf, "cgroup.procs"), []byte("0"), 0); err != nil {
		return fmt.Errorf("entering %s: %w", leaf, err)
	}
	for _, controller := range c.Controllers {
		if err := os.WriteFile(filepath.Join(root, "cgroup.subtree_control"), []byte("+"+controller), 0); err != nil {
			return fmt.Errorf("handing on the controller %s: %w", controller, err)
		}
	}
	return nil
}

// ownSysctls puts the machine's own files over those settings that belong to
// the whole kernel and that kubelets write, and over the kernel's boot id.
func (s *Spec) ownSysctls() error {
	for _, name := range []string{
		"vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes",
	} {
		value, err := os.ReadFile(filepath.Join("/proc/sys", name))
		if err != nil {
			return fmt.Errorf("reading a setting: %w", err)
		}
		if err := ownSysctl(name, value); err != nil {
			return err
		}
	}
	return ownSysctl("kernel/random/boot_id", []byte(s.BootID+"\n"))
}

func ownSysctl(name string, value []byte) error {
	own := filepath.Join("/run/node/sysctl", name)
	if err := makePoint(own, true); err != nil {
		return err
	}
	if err := os.WriteFile(own, value, 0o644); err != nil {
		return fmt.Errorf("writing %s: %w", own, err)
	}
	return bind(own, filepath.Join("/proc/sys", name))
}
