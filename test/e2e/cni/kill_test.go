// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package cni

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/selvage-net/selvage/hack/cluster/hosts"
	"github.com/selvage-net/selvage/test/standalone"
)

var _ = Describe("an agent that is killed", func() {
	// Of the two addresses one is the host's own: a leak is the end of it.
	var n *node
	BeforeEach(func() { n = newNode("10.32.0.0/31", "fd00:10::/127") })

	// onlyOne shows that nothing is leaked and nothing given twice.
	onlyOne := func(holder *hosts.Pod) {
		GinkgoHelper()
		n.reaches(holder, n.mustAdd(holder)...)
		_, err := n.add(n.pod("second"), "1.1.0")
		Expect(code(err)).To(BeEquivalentTo(11))
		Expect(n.del(holder.Name, holder.NetNS)).To(Succeed())
		next := n.pod("third")
		n.reaches(next, n.mustAdd(next)...)
	}

	for _, verb := range []string{"ADD", "DEL"} {
		for _, step := range standalone.Steps[verb] {
			It(fmt.Sprintf("%s leaks nothing, and a repeated %s succeeds", step, verb), func() {
				pod := n.pod("victim")
				if verb == "DEL" {
					n.start("")
					n.mustAdd(pod)
					n.kill()
				}
				n.start(step)
				_, err := n.run(call{command: verb, id: pod.Name, netns: pod.NetNS, ifname: "eth0", stdin: conf("1.1.0")})
				Eventually(n.agent.Done()).Should(BeClosed())
				if verb == "ADD" {
					Expect(code(err)).To(BeEquivalentTo(11))
				}
				n.start("")
				if verb == "DEL" {
					Expect(n.del(pod.Name, pod.NetNS)).To(Succeed())
				}
				onlyOne(pod)
			})

			It(fmt.Sprintf("%s leaks nothing if the runtime gives up", step), func() {
				pod := n.pod("victim")
				if verb == "DEL" {
					n.start("")
					n.mustAdd(pod)
					n.kill()
				}
				n.start(step)
				_, _ = n.run(call{command: verb, id: pod.Name, netns: pod.NetNS, ifname: "eth0", stdin: conf("1.1.0")})
				Eventually(n.agent.Done()).Should(BeClosed())
				pod.Close()
				n.start("")
				other := n.pod("other")
				Eventually(func() error { _, err := n.add(other, "1.1.0"); return err }).Should(Succeed())
				onlyOne(other)
			})
		}
	}

	It("at any moment loses no address and gives none twice", func() {
		n.ranges = []netip.Prefix{netip.MustParsePrefix("10.32.0.0/28"), netip.MustParsePrefix("fd00:10::/124")}
		n.start("")
		holders := map[string][]netip.Addr{}
		pods := map[string]*hosts.Pod{}
		for round := range 25 {
			killed := make(chan struct{})
			agent := n.agent
			go func() {
				defer close(killed)
				<-time.After(time.Duration(rand.IntN(12000)) * time.Microsecond) // anywhere in the calls below
				agent.Kill()
				n.longGone()
			}()
			var wg sync.WaitGroup
			for i := range 4 {
				name := fmt.Sprintf("r%d-%d", round, i)
				pods[name] = n.pod(name)
				wg.Go(func() {
					_, _ = n.run(call{command: "ADD", id: name, netns: pods[name].NetNS, ifname: "eth0", stdin: conf("1.1.0")})
				})
			}
			for name := range holders {
				wg.Go(func() { _ = n.del(name, pods[name].NetNS) })
			}
			wg.Wait()
			<-killed
			n.start("")
			for name := range holders {
				Expect(n.del(name, pods[name].NetNS)).To(Succeed())
				pods[name].Close()
				delete(pods, name)
			}
			clear(holders)
			taken := map[netip.Addr]string{}
			for name, pod := range pods {
				holders[name] = n.mustAdd(pod)
				for _, a := range holders[name] {
					Expect(taken).NotTo(HaveKey(a))
					taken[a] = name
				}
				n.reaches(pod, holders[name]...)
			}
		}
	})
})
