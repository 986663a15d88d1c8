// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package machine is what runs inside a node: the first process of a machine
// made of namespaces. It gives the machine its own disk, /proc, /sys and /run,
// and keeps its programs running. When it is killed, the kernel kills all that
// runs in the machine: a power cut.
package machine

import (
	"encoding/json"
	"fmt"
	"os"
)

// Spec says what to boot. Paths are those of the surrounding machine, unless
// they are said to be inside.
type Spec struct {
	// Name is the host name.
	Name string `json:"name"`
	// BootID is what the kernel is made to call this boot.
	BootID string `json:"bootID"`
	// Cgroups are the machine's control groups, which it then takes for roots.
	Cgroups Cgroups `json:"cgroups"`
	// Disk survives a power cut. See Disk… for what is in it.
	Disk string `json:"disk"`
	// Configuration is a folder, seen inside as ConfigurationDir.
	Configuration string `json:"configuration"`
	// Logs is a folder that the output of services is appended in.
	Logs string `json:"logs"`
	// Images is a folder of image archives, seen inside as ImagesDir.
	Images string `json:"images"`
	// Plugins is a folder of CNI plugins that the machine comes with.
	Plugins string `json:"plugins"`
	// Programs are files, seen inside in ProgramsDir under these names.
	Programs map[string]string `json:"programs"`
	// Services are started in this order and again whenever they end.
	Services []Service `json:"services"`
}

// Cgroups are a machine's control groups: one of version 2, or one of each
// hierarchy of version 1.
type Cgroups struct {
	// Unified is the group of version 2; empty where version 1 is in use.
	Unified string `json:"unified,omitempty"`
	// Controllers are what its children are given.
	Controllers []string `json:"controllers,omitempty"`
	// Hierarchies are those of version 1.
	Hierarchies []Hierarchy `json:"hierarchies,omitempty"`
}

// Hierarchy is one of version 1.
type Hierarchy struct {
	// Name is that of the folder it is mounted at, such as cpu,cpuacct.
	Name string `json:"name"`
	// Options are what it is mounted with, such as name=systemd.
	Options string `json:"options"`
	// Group is the machine's group.
	Group string `json:"group"`
}

// Service is a program that is kept running.
type Service struct {
	Name string   `json:"name"`
	Args []string `json:"args"`
	// Program is the name in ProgramsDir, if it is not Name.
	Program string `json:"program,omitempty"`
	// Once is for what ends: the next one starts when it has ended well, and
	// it is tried again until then.
	Once bool `json:"once,omitempty"`
	// Socket, if set, must accept connections before the next one starts.
	Socket string `json:"socket,omitempty"`
}

// Where things are inside.
const (
	ConfigurationDir = "/run/node/configuration"
	ProgramsDir      = "/run/node/programs"
	ImagesDir        = "/run/node/images"
	diskDir          = "/run/node/disk"
	logsDir          = "/run/node/logs"
	pluginsDir       = "/run/node/plugins"
)

// The folders of a disk. Those with an upper and a work folder lie over what
// the surrounding machine has.
const (
	DiskLib     = "lib"     // /var/lib
	DiskLog     = "log"     // /var/log
	DiskOpt     = "opt"     // /opt
	DiskEtc     = "etc"     // upper: /etc
	DiskCNI     = "cni"     // /etc/cni
	DiskPlugins = "plugins" // upper: /opt/cni/bin
	Upper       = "upper"   // what the machine itself has written
	work        = "work"    // overlayfs' own
)

// Format makes the folders of a disk, if they are not there.
func Format(disk string) error {
	for _, dir := range []string{
		DiskLib, DiskLog, DiskOpt, DiskOpt + "/cni/bin", DiskCNI + "/net.d",
		DiskEtc + "/" + Upper + "/cni", DiskEtc + "/" + work, DiskPlugins + "/" + Upper, DiskPlugins + "/" + work,
	} {
		if err := os.MkdirAll(disk+"/"+dir, 0o755); err != nil {
			return fmt.Errorf("making the disk %s: %w", disk, err)
		}
	}
	return nil
}

// Write saves a spec for Join.
func (s *Spec) Write(path string) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the machine %s: %w", s.Name, err)
	}
	return os.WriteFile(path, data, 0o600)
}

func read(path string) (*Spec, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading what machine to be: %w", err)
	}
	s := &Spec{}
	if err := json.Unmarshal(data, s); err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return s, nil
}
