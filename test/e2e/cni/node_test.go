// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package cni

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/selvage-net/selvage/hack/cluster/hosts"
	"github.com/selvage-net/selvage/hack/cluster/processes"
	"github.com/selvage-net/selvage/node-agent/cniserver/wire"
	"github.com/selvage-net/selvage/test/standalone"
)

// node is a host with an agent on it.
type node struct {
	host   *hosts.Host
	dir    string
	ranges []netip.Prefix
	agent  *processes.Process
	// child is what the agent's process is made with, beside the options.
	child func(*exec.Cmd)
}

// newNode makes a host whose agent owns the ranges. The first address of each
// family is the host's own.
func newNode(ranges ...string) *node {
	network, err := hosts.New(context.Background(), "svc", netip.Prefix{})
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(network.Close)
	n := &node{dir: GinkgoT().TempDir()}
	n.host, err = network.Host("node")
	Expect(err).NotTo(HaveOccurred())
	for _, r := range ranges {
		n.ranges = append(n.ranges, netip.MustParsePrefix(r))
	}
	GinkgoT().Setenv(wire.RunDirEnv, n.dir)
	DeferCleanup(n.kill)
	return n
}

// start starts the agent, which kills itself at a step if one is given, and
// waits until it listens.
func (n *node) start(killAt string) {
	GinkgoHelper()
	cmd, err := standalone.Command(context.Background(), standalone.Options{
		RunDir: n.dir, NetNS: n.host.NetNS, Node: []netip.Addr{n.host.Address, n.host.Address6}, Ranges: n.ranges, KillAt: killAt})
	Expect(err).NotTo(HaveOccurred())
	if n.child != nil {
		n.child(cmd)
	}
	log := filepath.Join(n.dir, "agent.log")
	n.agent, err = processes.StartProcess(spawner(), "agent", log, cmd)
	Expect(err).NotTo(HaveOccurred())
	Eventually(func() error {
		if !n.agent.Running() {
			return StopTrying(n.agent.Failure().Error())
		}
		return n.status()
	}).Should(Succeed())
}

// spawner starts processes that die with the tests.
func spawner() *processes.Spawner {
	s, err := processes.NewSpawner()
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(s.Close)
	return s
}

// kill ends the agent as a power cut would.
func (n *node) kill() {
	if n.agent != nil {
		n.agent.Kill()
	}
}

// longGone lets the agent's last sign of life be older than a restart takes.
func (n *node) longGone() {
	long := time.Now().Add(-(wire.AliveSeconds + 2) * time.Second)
	_ = os.Chtimes(filepath.Join(n.dir, wire.Alive), long, long)
}

// status connects to the agent itself: the plugin's STATUS forgives an absence.
func (n *node) status() error {
	conn, err := dial(n.dir)
	if err != nil {
		return err
	}
	return conn.Close()
}

func (n *node) pod(name string) *hosts.Pod {
	GinkgoHelper()
	pod, err := n.host.NewPod(name)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(pod.Close)
	return pod
}

// call is one run of the plugin as a runtime does it.
type call struct {
	command, id, netns, ifname, args, stdin string
}

// conf is the configuration of a network with our plugin alone.
func conf(version string, more ...string) string {
	text := fmt.Sprintf(`{"cniVersion":%q,"name":"selvage","type":"selvage"`, version)
	for _, m := range more {
		text += "," + m
	}
	return text + "}"
}

// run returns what the plugin prints and, if it fails, the error it prints.
func (n *node) run(c call) ([]byte, error) {
	cmd := exec.Command(filepath.Join(binaries, "selvage"))
	cmd.Env = append(os.Environ(), "CNI_COMMAND="+c.command, "CNI_CONTAINERID="+c.id, "CNI_NETNS="+c.netns,
		"CNI_IFNAME="+c.ifname, "CNI_ARGS="+c.args, "CNI_PATH="+binaries)
	cmd.Stdin = bytes.NewBufferString(c.stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := n.host.Run(cmd)
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return stdout.Bytes(), err
	}
	var e types.Error
	if json.Unmarshal(stdout.Bytes(), &e) != nil || e.Msg == "" {
		return nil, fmt.Errorf("no error of CNI's: %q, %q", stdout.String(), stderr.String())
	}
	return nil, &e
}

// add runs ADD and returns the pod's addresses.
func (n *node) add(pod *hosts.Pod, version string, more ...string) ([]netip.Addr, error) {
	out, err := n.run(call{command: "ADD", id: pod.Name, netns: pod.NetNS, ifname: "eth0", stdin: conf(version, more...)})
	if err != nil {
		return nil, err
	}
	return addressesOf(out), nil
}

func (n *node) mustAdd(pod *hosts.Pod) []netip.Addr {
	GinkgoHelper()
	addrs, err := n.add(pod, "1.1.0")
	Expect(err).NotTo(HaveOccurred())
	return addrs
}

func (n *node) del(id, netns string) error {
	_, err := n.run(call{command: "DEL", id: id, netns: netns, ifname: "eth0", stdin: conf("1.1.0")})
	return err
}

// addressesOf reads the addresses of a result of the newest version.
func addressesOf(result []byte) (addrs []netip.Addr) {
	GinkgoHelper()
	res, err := current.NewResult(result)
	Expect(err).NotTo(HaveOccurred(), string(result))
	for _, ip := range res.(*current.Result).IPs {
		a, _ := netip.AddrFromSlice(ip.Address.IP)
		addrs = append(addrs, a.Unmap())
	}
	return addrs
}

// code is that of a CNI error, 0 for none.
func code(err error) uint {
	var e *types.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}

// reaches expects that the host's and the pod's addresses answer each other.
func (n *node) reaches(pod *hosts.Pod, addrs ...netip.Addr) {
	GinkgoHelper()
	for _, a := range addrs {
		Expect(n.host.Ping(context.Background(), a, patience)).To(Succeed())
	}
}

// libcni is the library that runtimes use, with its cache in the node's own
// directory. It starts plugins on the thread that calls it.
func (n *node) libcni() *libcni.CNIConfig {
	return libcni.NewCNIConfigWithCacheDir([]string{binaries, chained}, filepath.Join(n.dir, "cache"), nil)
}

func runtimeConf(pod *hosts.Pod) *libcni.RuntimeConf {
	return &libcni.RuntimeConf{ContainerID: pod.Name, NetNS: pod.NetNS, IfName: "eth0",
		Args: [][2]string{{"IgnoreUnknown", "1"}, {"K8S_POD_NAMESPACE", "default"}, {"K8S_POD_NAME", pod.Name}}}
}
