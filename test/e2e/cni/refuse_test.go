// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package cni

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/selvage-net/selvage/node-agent/cniserver/wire"
	"github.com/selvage-net/selvage/test/standalone"
)

// dial opens the agent's socket.
func dial(dir string) (net.Conn, error) {
	return net.Dial("unix", filepath.Join(dir, wire.Socket))
}

var _ = Describe("bad input", Ordered, func() {
	var n *node
	BeforeAll(func() {
		n = newNode("10.32.0.0/28")
		n.start("")
	})

	good := call{command: "ADD", id: "pod", netns: "/run/netns/never-was", ifname: "eth0", stdin: conf("1.1.0")}
	with := func(change func(*call)) call { c := good; change(&c); return c }

	DescribeTable("gets an error that names the remedy", func(c call, wantCode int, texts ...string) {
		_, err := n.run(c)
		Expect(code(err)).To(BeEquivalentTo(wantCode), fmt.Sprint(err))
		for _, text := range texts {
			Expect(err).To(MatchError(ContainSubstring(text)))
		}
		pod := n.pod("next")
		n.reaches(pod, n.mustAdd(pod)...)
		Expect(n.del(pod.Name, pod.NetNS)).To(Succeed())
	},
		Entry("garbage on standard input", with(func(c *call) { c.stdin = "\x00\x01 garbage" }), 6, "not valid JSON"),
		Entry("nothing on standard input", with(func(c *call) { c.stdin = "" }), 6, "not valid JSON"),
		Entry("five megabytes on standard input", with(func(c *call) { c.stdin = strings.Repeat(" ", 5<<20) + conf("1.1.0") }), 6, "cannot read"),
		Entry("an unknown version", with(func(c *call) { c.stdin = conf("7.0.0") }), 1, `"7.0.0"`, "0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0", "set cniVersion"),
		Entry("no version", with(func(c *call) { c.stdin = `{"name":"selvage","type":"selvage"}` }), 1, "0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0"),
		Entry("a verb before its time", with(func(c *call) { c.command, c.stdin = "STATUS", conf("1.0.0") }), 1, "needs cniVersion 1.1.0"),
		Entry("an unknown verb", with(func(c *call) { c.command = "REPLACE" }), 4, "CNI_COMMAND"),
		Entry("no verb", with(func(c *call) { c.command = "" }), 4, "required"),
		Entry("no container id", with(func(c *call) { c.id = "" }), 4, "CNI_CONTAINERID"),
		Entry("a path as container id", with(func(c *call) { c.id = "../../etc" }), 4, "CNI_CONTAINERID"),
		Entry("no interface name", with(func(c *call) { c.ifname = "" }), 4, "CNI_IFNAME"),
		Entry("an interface name that is too long", with(func(c *call) { c.ifname = "sixteencharacter" }), 4, "CNI_IFNAME"),
		Entry("no namespace", with(func(c *call) { c.netns = "" }), 4, "CNI_NETNS"),
		Entry("a namespace that is gone", good, 3, "/run/netns/never-was"),
		Entry("a file that is no namespace", with(func(c *call) { c.netns = "/etc/passwd" }), 4, "not a pod's network namespace"),
		Entry("arguments without values", with(func(c *call) { c.args = "K8S_POD_NAME" }), 4, "KEY=VALUE"),
		Entry("a network without a name", with(func(c *call) { c.stdin = `{"cniVersion":"1.1.0","type":"selvage"}` }), 7, "name"),
		Entry("an ipam section", with(func(c *call) { c.stdin = conf("1.1.0", `"ipam":{"type":"host-local"}`) }), 7, "remove ipam"),
		Entry("a namespace of another kind", with(func(c *call) { c.netns = "/proc/self/ns/uts" }), 4, "not a pod's network namespace"),
		Entry("an MTU of nothing", with(func(c *call) { c.stdin = conf("1.1.0", `"mtu":-5`) }), 7, "mtu"),
		Entry("a broken prevResult", with(func(c *call) { c.stdin = conf("1.1.0", `"prevResult":[]`) }), 7, "prevResult"),
		Entry("CHECK without prevResult", with(func(c *call) { c.command = "CHECK" }), 7, "prevResult"),
		Entry("GC without a list", with(func(c *call) { c.command = "GC" }), 7, "valid-attachments"),
	)

	It("refuses the host's own namespace", func() {
		_, err := n.run(with(func(c *call) { c.netns = n.host.NetNS }))
		Expect(err).To(MatchError(ContainSubstring("host's own")))
		Expect(code(err)).To(BeEquivalentTo(4))
	})

	It("refuses every user but root, whatever the socket's mode", func() {
		DeferCleanup(os.Chmod, n.dir, os.FileMode(0o700))
		Expect(os.Chmod(n.dir, 0o755)).To(Succeed())
		plugin := filepath.Join(n.dir, "selvage")
		Expect(exec.Command("install", "-m", "0755", filepath.Join(binaries, "selvage"), plugin).Run()).To(Succeed())
		asNobody := func() string {
			cmd := exec.Command(plugin)
			cmd.Env = append(os.Environ(), "CNI_COMMAND=ADD")
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
			out, err := cmd.Output()
			Expect(err).To(HaveOccurred())
			return string(out)
		}
		Expect(asNobody()).To(ContainSubstring("permission denied"))
		Expect(os.Chmod(standalone.SocketPath(n.dir), 0o666)).To(Succeed())
		Expect(asNobody()).To(ContainSubstring("only root may call the agent, this is user 65534"))
	})

	It("gets a clear answer on the socket too", func() {
		for _, garbage := range []string{"GET / HTTP/1.1\r\n\r\n", "SLV1\xff\xff\xff\xff", "SLV1\x00\x00\x00\x02ab", "\x00", ""} {
			conn, err := dial(n.dir)
			Expect(err).NotTo(HaveOccurred())
			_, err = conn.Write([]byte(garbage))
			Expect(err).NotTo(HaveOccurred())
			Expect(conn.(*net.UnixConn).CloseWrite()).To(Succeed())
			answer, err := io.ReadAll(conn)
			Expect(err).NotTo(HaveOccurred())
			Expect(string(answer)).To(ContainSubstring(`"code":6`), "%q", garbage)
			Expect(conn.Close()).To(Succeed())
		}
		By("serving others while somebody says nothing")
		for range 64 {
			conn, err := dial(n.dir)
			Expect(err).NotTo(HaveOccurred())
			DeferCleanup(conn.Close)
		}
		pod := n.pod("meanwhile")
		n.reaches(pod, n.mustAdd(pod)...)
	})
})
