// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package lifecycle

import (
	"context"
	"fmt"
	"net"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/selvage-net/selvage/test/e2e/nodes/stage"
)

// The path between nodes takes 1,500 bytes, and VXLAN 50 of them.
const podMTU = 1450

var networks = []string{"tcp", "udp"}

var _ = Describe("a pod", Ordered, func() {
	// a and b are on node1, c is on node2, and d on node2 is on its network.
	var a, b, c, d *corev1.Pod
	BeforeAll(func(ctx context.Context) {
		a, b, c, d = stage.Pod("a", "node1"), stage.Pod("b", "node1"), stage.Pod("c", "node2"), stage.Pod("d", "node2")
		d.Spec.HostNetwork = true
		c.Spec.Containers[0].Ports = []corev1.ContainerPort{
			{ContainerPort: 8080, HostPort: 18080, Protocol: corev1.ProtocolTCP},
			{ContainerPort: 8080, HostPort: 18080, Protocol: corev1.ProtocolUDP},
		}
		Expect(s.Start(ctx, a, b, c, d)).To(Succeed())
	})
	AfterAll(func(ctx context.Context) { Expect(s.Delete(ctx, a, b, c, d)).To(Succeed()) })

	for _, network := range networks {
		It("hears pods on its node and on others, under their own addresses, over "+network, func(ctx context.Context) {
			for _, to := range []*corev1.Pod{a, b, c} {
				who, saw, err := s.Ask(ctx, a, network, stage.Address(to))
				Expect(err).NotTo(HaveOccurred())
				Expect(who).To(BeEquivalentTo(to.UID))
				Expect(saw).To(Equal(a.Status.PodIP))
			}
		})

		It("reaches nodes, and is masqueraded to others, over "+network, func(ctx context.Context) {
			for _, from := range []*corev1.Pod{a, c} {
				who, saw, err := s.Ask(ctx, from, network, at(d))
				Expect(err).NotTo(HaveOccurred())
				Expect(who).To(BeEquivalentTo(d.UID))
				Expect(saw).To(BeElementOf(from.Status.PodIP, from.Status.HostIP), "of node %s", from.Spec.NodeName)
			}
		})

		It("is reached from nodes, over "+network, func(ctx context.Context) {
			for _, node := range []string{"node1", "node2", "node3"} {
				who, _, err := s.AskFrom(ctx, node, network, stage.Address(c))
				Expect(err).NotTo(HaveOccurred(), node)
				Expect(who).To(BeEquivalentTo(c.UID))
			}
		})

		It("is reached at its host port, over "+network, func(ctx context.Context) {
			at := net.JoinHostPort(c.Status.HostIP, "18080")
			for _, from := range []*corev1.Pod{a, c} {
				who, _, err := s.Ask(ctx, from, network, at)
				Expect(err).NotTo(HaveOccurred(), "from "+from.Name)
				Expect(who).To(BeEquivalentTo(c.UID))
			}
			for _, node := range []string{"node1", "node2", "node3"} {
				who, _, err := s.AskFrom(ctx, node, network, at)
				Expect(err).NotTo(HaveOccurred(), node)
				Expect(who).To(BeEquivalentTo(c.UID))
			}
		})

		It("is reached through a Service, by itself too, over "+network, func(ctx context.Context) {
			service := expose(ctx, c)
			for _, from := range []*corev1.Pod{a, c} {
				who, saw, err := s.Ask(ctx, from, network, net.JoinHostPort(service.Spec.ClusterIP, "80"))
				Expect(err).NotTo(HaveOccurred(), "from "+from.Name)
				Expect(who).To(BeEquivalentTo(c.UID))
				if from == a {
					Expect(saw).To(Equal(a.Status.PodIP), "a Service does not hide who asks")
				}
			}
			for _, node := range []string{"node1", "node2", "node3"} {
				who, _, err := s.AskFrom(ctx, node, network, net.JoinHostPort(service.Spec.ClusterIP, "80"))
				Expect(err).NotTo(HaveOccurred(), node)
				Expect(who).To(BeEquivalentTo(c.UID))
			}
			port := fmt.Sprint(service.Spec.Ports[0].NodePort)
			for _, node := range s.Nodes() {
				nodePort := net.JoinHostPort(node.Addresses()[0].String(), port)
				who, _, err := s.Ask(ctx, a, network, nodePort)
				Expect(err).NotTo(HaveOccurred(), "a pod at "+nodePort)
				Expect(who).To(BeEquivalentTo(c.UID))
				who, _, err = s.AskFrom(ctx, "node3", network, nodePort)
				Expect(err).NotTo(HaveOccurred(), "node3 at "+nodePort)
				Expect(who).To(BeEquivalentTo(c.UID))
			}
		})
	}

	It("sends datagrams as large as its MTU says, unfragmented, and no larger", func(ctx context.Context) {
		const headers = 20 + 8
		for _, to := range []*corev1.Pod{b, c} {
			_, _, err := s.Ask(ctx, a, "--size", fmt.Sprint(podMTU-headers), "udp", stage.Address(to))
			Expect(err).NotTo(HaveOccurred())
			_, _, err = s.Ask(ctx, a, "--size", fmt.Sprint(podMTU-headers+1), "udp", stage.Address(to))
			Expect(err).To(MatchError(ContainSubstring("message too long")))
		}
	})

	It("reaches the API server through its Service", func(ctx context.Context) {
		out, err := s.Exec(ctx, a, "api")
		Expect(err).NotTo(HaveOccurred())
		Expect(out).To(HavePrefix("v1."))
	})
})

// at is where a pod on its node's network answers.
func at(p *corev1.Pod) string { return net.JoinHostPort(p.Status.HostIP, stage.Port) }

// expose makes a Service of one pod, and waits until every node knows it.
func expose(ctx context.Context, p *corev1.Pod) *corev1.Service {
	GinkgoHelper()
	port := func(name string, protocol corev1.Protocol) corev1.ServicePort {
		return corev1.ServicePort{Name: name, Port: 80, TargetPort: intstr.FromInt32(8080), Protocol: protocol, NodePort: 30080}
	}
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{GenerateName: p.Name + "-", Namespace: p.Namespace},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeNodePort, Selector: p.Labels, Ports: []corev1.ServicePort{port("tcp", corev1.ProtocolTCP), port("udp", corev1.ProtocolUDP)},
		},
	}
	Expect(s.Client.Create(ctx, service)).To(Succeed())
	DeferCleanup(func(ctx context.Context) { Expect(s.Client.Delete(ctx, service)).To(Succeed()) })
	for _, n := range s.Nodes() {
		Expect(s.Eventually(ctx, n.Name+" to know the Service", func(ctx context.Context) error {
			_, _, err := s.AskFrom(ctx, n.Name, "tcp", net.JoinHostPort(service.Spec.ClusterIP, "80"))
			return err
		})).To(Succeed())
	}
	return service
}
