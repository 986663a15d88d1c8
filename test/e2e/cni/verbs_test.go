// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package cni

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/types/create"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

var _ = Describe("the plugin, called by libcni", func() {
	var n *node
	BeforeEach(func() {
		n = newNode("10.32.0.0/24", "fd00:10::/120")
		n.start("")
	})

	It("adds, checks, collects and deletes", func(ctx context.Context) {
		list, err := libcni.NetworkConfFromBytes([]byte(`{"cniVersion":"1.1.0","name":"selvage","plugins":[{"type":"selvage"}]}`))
		Expect(err).NotTo(HaveOccurred())
		cni, pods := n.libcni(), []string{"a", "b", "c"}
		Expect(n.host.Do(func() error { return cni.GetStatusNetworkList(ctx, list) })).To(Succeed())
		var kept []types.GCAttachment
		for _, name := range pods {
			pod := n.pod(name)
			var res types.Result
			Expect(n.host.Do(func() (err error) {
				res, err = cni.AddNetworkList(ctx, list, runtimeConf(pod))
				return err
			})).To(Succeed())
			got := res.(*current.Result)
			Expect(got.Interfaces).To(HaveLen(2))
			Expect(got.Interfaces[0].Sandbox).To(BeEmpty())
			Expect(got.Interfaces[1]).To(HaveField("Name", "eth0"))
			Expect(got.Interfaces[1].Sandbox).To(Equal(pod.NetNS))
			Expect(got.IPs).To(HaveLen(2))
			for _, ip := range got.IPs {
				Expect(*ip.Interface).To(Equal(1))
				a, _ := netip.AddrFromSlice(ip.Address.IP)
				n.reaches(pod, a.Unmap())
			}
			Expect(n.host.Do(func() error { return cni.CheckNetworkList(ctx, list, runtimeConf(pod)) })).To(Succeed())
			if name != "b" {
				kept = append(kept, types.GCAttachment{ContainerID: name, IfName: "eth0"})
			}
		}
		By("collecting all but two")
		Expect(n.host.Do(func() error { return cni.GCNetworkList(ctx, list, &libcni.GCArgs{ValidAttachments: kept}) })).To(Succeed())
		for _, name := range []string{"a", "c"} {
			pod := n.pod(name) // another namespace of that name: CHECK looks at the attachment
			Expect(n.host.Do(func() error { return cni.CheckNetworkList(ctx, list, runtimeConf(pod)) })).To(Succeed())
			Expect(n.host.Do(func() error { return cni.DelNetworkList(ctx, list, runtimeConf(pod)) })).To(Succeed())
		}
		_, err = n.run(call{command: "CHECK", id: "b", netns: n.host.NetNS, ifname: "eth0", stdin: conf("1.1.0", `"prevResult":{"cniVersion":"1.1.0"}`)})
		Expect(code(err)).To(BeEquivalentTo(3))
	})
})

var _ = Describe("the plugin in a chain", func() {
	It("stands before portmap, tuning and bandwidth", func(ctx context.Context) {
		n := newNode("10.32.0.0/24")
		n.start("")
		list, err := libcni.NetworkConfFromBytes([]byte(`{"cniVersion":"1.0.0","name":"selvage","plugins":[
			{"type":"selvage","capabilities":{"ips":true}},
			{"type":"portmap","capabilities":{"portMappings":true},"snat":true},
			{"type":"tuning","sysctl":{"net.core.somaxconn":"500"}},
			{"type":"bandwidth","egressRate":0,"egressBurst":0,"ingressRate":80000000,"ingressBurst":80000000}]}`))
		Expect(err).NotTo(HaveOccurred())
		cni, pod := n.libcni(), n.pod("chained")
		rt := runtimeConf(pod)
		rt.CapabilityArgs = map[string]any{
			"ips":          []string{"10.32.0.77/24"},
			"portMappings": []map[string]any{{"hostPort": 8080, "containerPort": 7000, "protocol": "udp"}},
		}
		var res types.Result
		Expect(n.host.Do(func() (err error) { res, err = cni.AddNetworkList(ctx, list, rt); return err })).To(Succeed())
		got, err := current.GetResult(res)
		Expect(err).NotTo(HaveOccurred())
		Expect(got.IPs[0].Address.IP.String()).To(Equal("10.32.0.77"))

		By("reaching the pod through the host's port")
		ear, err := pod.Listen(7000)
		Expect(err).NotTo(HaveOccurred())
		Eventually(func() int {
			Expect(n.host.Say(netip.AddrPortFrom(n.host.Address, 8080), "hello")).To(Succeed())
			return len(ear.Heard())
		}).Should(BeNumerically(">", 0))
		By("limiting the pod's traffic on the host's link that the result names")
		shaped, err := n.host.Command(ctx, "tc", "qdisc", "show", "dev", got.Interfaces[0].Name).CombinedOutput()
		Expect(err).NotTo(HaveOccurred(), string(shaped))
		Expect(string(shaped)).To(ContainSubstring("tbf"))

		By("checking, without portmap: this version of it looks for the rules of IPv4 among those of IPv6 too, and always fails")
		checked := *list
		checked.Plugins = slices.Concat(list.Plugins[:1], list.Plugins[2:])
		Expect(n.host.Do(func() error { return cni.CheckNetworkList(ctx, &checked, rt) })).To(Succeed())
		for range 2 {
			Expect(n.host.Do(func() error { return cni.DelNetworkList(ctx, list, rt) })).To(Succeed())
		}
		rules, err := n.host.Command(ctx, "iptables-save").CombinedOutput()
		Expect(err).NotTo(HaveOccurred(), string(rules))
		Expect(string(rules)).NotTo(ContainSubstring("10.32.0.77"))
	})
})

var _ = Describe("the plugin, called by itself", func() {
	var n *node
	BeforeEach(func() {
		n = newNode("10.32.0.0/28", "fd00:10::/124")
		n.start("")
	})

	It("answers in each version of the specification", func() {
		for _, version := range []string{"0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"} {
			pod := n.pod("v" + version)
			out, err := n.run(call{command: "ADD", id: pod.Name, netns: pod.NetNS, ifname: "eth0", stdin: conf(version)})
			Expect(err).NotTo(HaveOccurred(), version)
			res, err := create.CreateFromBytes(out)
			Expect(err).NotTo(HaveOccurred(), string(out))
			Expect(res.Version()).To(Equal(version))
			got, err := current.GetResult(res)
			Expect(err).NotTo(HaveOccurred())
			Expect(got.IPs).To(HaveLen(2))
			Expect(got.Routes).To(HaveLen(2))
			_, err = n.run(call{command: "DEL", id: pod.Name, netns: pod.NetNS, ifname: "eth0", stdin: conf(version)})
			Expect(err).NotTo(HaveOccurred())
		}
		out, err := n.run(call{command: "VERSION", stdin: `{"cniVersion":"0.4.0"}`})
		Expect(err).NotTo(HaveOccurred())
		Expect(out).To(MatchJSON(`{"cniVersion":"0.4.0","supportedVersions":["0.3.0","0.3.1","0.4.0","1.0.0","1.1.0"]}`))
	})

	It("gives the same answer to a repeated ADD, and succeeds at a repeated DEL", func() {
		pod := n.pod("again")
		add := call{command: "ADD", id: pod.Name, netns: pod.NetNS, ifname: "eth0", stdin: conf("1.1.0")}
		first, err := n.run(add)
		Expect(err).NotTo(HaveOccurred())
		for range 3 {
			Expect(n.run(add)).To(MatchJSON(first))
		}
		n.reaches(pod, addressesOf(first)...)
		for _, netns := range []string{pod.NetNS, pod.NetNS, "", "/run/netns/never-was"} {
			Expect(n.del(pod.Name, netns)).To(Succeed())
		}
		Expect(n.del("never-was", "")).To(Succeed())
		By("adding it once more after its DEL")
		n.reaches(pod, n.mustAdd(pod)...)
	})

	It("keeps what a failed repetition finds", func() {
		pod := n.pod("once")
		addrs := n.mustAdd(pod)
		_, err := n.add(pod, "1.1.0", `"runtimeConfig":{"ips":["10.32.0.9"]}`)
		Expect(code(err)).To(BeEquivalentTo(7))
		Expect(err).To(MatchError(ContainSubstring(addrs[0].String())))
		n.reaches(pod, addrs...)
		Expect(n.mustAdd(pod)).To(Equal(addrs))
	})

	It("attaches two interfaces of one pod", func() {
		pod := n.pod("two")
		seen := map[netip.Addr]bool{}
		for _, ifname := range []string{"eth0", "net1"} {
			out, err := n.run(call{command: "ADD", id: pod.Name, netns: pod.NetNS, ifname: ifname, stdin: conf("1.1.0")})
			Expect(err).NotTo(HaveOccurred())
			for _, a := range addressesOf(out) {
				Expect(seen).NotTo(HaveKey(a))
				seen[a] = true
			}
		}
		Expect(seen).To(HaveLen(4))
	})

	It("gives the address that is asked for, or says why not", func() {
		want := `"runtimeConfig":{"ips":["10.32.0.9/28","fd00:10::9"]}`
		pod, other := n.pod("wanting"), n.pod("other")
		Expect(n.add(pod, "1.1.0", want)).To(Equal([]netip.Addr{netip.MustParseAddr("10.32.0.9"), netip.MustParseAddr("fd00:10::9")}))
		for text, want := range map[string]string{
			"another pod has it": want,
			"in no range":        `"runtimeConfig":{"ips":["10.99.0.1"]}`,
			"reserved":           `"runtimeConfig":{"ips":["10.32.0.0"]}`,
			"not an address":     `"runtimeConfig":{"ips":["10.32.0.256"]}`,
			"one IPv4":           `"runtimeConfig":{"ips":["10.32.0.3","10.32.0.4"]}`,
		} {
			_, err := n.add(other, "1.1.0", want)
			Expect(err).To(MatchError(ContainSubstring(text)))
			Expect(code(err)).To(BeEquivalentTo(7), text)
		}
		By("taking it over once it is free")
		Expect(n.del(pod.Name, pod.NetNS)).To(Succeed())
		n.reaches(other, must(n.add(other, "1.1.0", want))...)
	})

	It("says when there is no address left, and serves again when there is", func() {
		var pods []string
		for i := range 15 { // sixteen less the host's own
			pod := n.pod(fmt.Sprintf("p%d", i))
			pods = append(pods, pod.Name)
			n.mustAdd(pod)
		}
		late := n.pod("late")
		_, err := n.add(late, "1.1.0")
		Expect(code(err)).To(BeEquivalentTo(11))
		Expect(err).To(MatchError(ContainSubstring("no IPv4 address is free")))
		Expect(n.del(pods[3], "")).To(Succeed())
		n.reaches(late, n.mustAdd(late)...)
	})

	It("frees an address whose DEL never comes", func() {
		pod := n.pod("forgotten")
		want := fmt.Sprintf(`"runtimeConfig":{"ips":["%s"]}`, n.mustAdd(pod)[0])
		other := n.pod("next")
		_, err := n.add(other, "1.1.0", want)
		Expect(code(err)).To(BeEquivalentTo(7))
		pod.Close()
		Eventually(func() error { _, err := n.add(other, "1.1.0", want); return err }).Should(Succeed())
		Expect(n.del(pod.Name, pod.NetNS)).To(Succeed(), "a DEL that comes after all")
		Expect(n.mustAdd(other)).To(ContainElement(must(n.add(other, "1.1.0", want))[0]), "and frees nothing of the next holder's")
	})

	It("waits for an agent that is being restarted", func() {
		n.kill()
		pod := n.pod("waiting")
		type outcome struct {
			addrs []netip.Addr
			err   error
		}
		done := make(chan outcome, 1)
		go func() {
			addrs, err := n.add(pod, "1.1.0")
			done <- outcome{addrs, err}
		}()
		Consistently(done, "300ms").ShouldNot(Receive())
		n.start("")
		var got outcome
		Eventually(done).Should(Receive(&got))
		Expect(got.err).NotTo(HaveOccurred())
		n.reaches(pod, got.addrs...)
	})

	It("does without an agent what can be done without", func() {
		pod := n.pod("patient")
		addrs := n.mustAdd(pod)
		n.kill()
		Expect(n.run(call{command: "VERSION"})).To(ContainSubstring(`"1.1.0"`))
		status := call{command: "STATUS", stdin: conf("1.1.0")}
		_, err := n.run(status)
		Expect(err).NotTo(HaveOccurred(), "a restart takes no node out of service")
		n.longGone()
		_, err = n.run(status)
		Expect(code(err)).To(BeEquivalentTo(50))
		_, err = n.add(n.pod("new"), "1.1.0")
		Expect(code(err)).To(BeEquivalentTo(11))
		Expect(err).To(MatchError(ContainSubstring("selvage-agent does not answer")))
		n.reaches(pod, addrs...)
		By("deleting, which the kernel remembers for the next agent")
		Expect(n.del(pod.Name, pod.NetNS)).To(Succeed())
		pod.Close()
		n.start("")
		_, err = n.run(status)
		Expect(err).NotTo(HaveOccurred())
		Eventually(func() error {
			_, err := n.add(n.pod("heir"), "1.1.0", fmt.Sprintf(`"runtimeConfig":{"ips":["%s"]}`, addrs[0]))
			return err
		}).Should(Succeed())
	})

	It("needs nothing but the kernel: no file is written for an ADD or a DEL", func() {
		n.kill()
		n.child = inMountNamespace
		n.start("")
		// The first pod of each family finds the host's forwarding off.
		n.mustAdd(n.pod("first"))
		makeReadOnly(n.agent.PID())
		for i := range 5 {
			pod := n.pod(fmt.Sprintf("ro%d", i))
			n.reaches(pod, n.mustAdd(pod)...)
			Expect(n.del(pod.Name, pod.NetNS)).To(Succeed())
		}
		Expect(n.agent.Running()).To(BeTrue())
	})
})

func must[T any](v T, err error) T {
	GinkgoHelper()
	Expect(err).NotTo(HaveOccurred())
	return v
}
