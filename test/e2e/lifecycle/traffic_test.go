// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package lifecycle

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/selvage-net/selvage/hack/cluster/nodes"
	"github.com/selvage-net/selvage/test/e2e/nodes/stage"
)

// The path between nodes takes 1,500 bytes, and VXLAN over IPv4 50 of them,
// whichever family is inside.
const podMTU = 1450

var networks = []string{"tcp", "udp"}

// family is one of the two whose addresses each pod, node and Service has.
type family struct {
	name corev1.IPFamily
	// headers are IP's and UDP's.
	headers int
}

var families = []family{{corev1.IPv4Protocol, 20 + 8}, {corev1.IPv6Protocol, 40 + 8}}

// of picks the family's address.
func (f family) of(addresses []string) string {
	GinkgoHelper()
	for _, a := range addresses {
		if netip.MustParseAddr(a).Is6() == (f.name == corev1.IPv6Protocol) {
			return a
		}
	}
	Fail(fmt.Sprintf("no %s address among %v", f.name, addresses))
	return ""
}

func (f family) pod(p *corev1.Pod) string {
	GinkgoHelper()
	var all []string
	for _, ip := range p.Status.PodIPs {
		all = append(all, ip.IP)
	}
	return f.of(all)
}

// host is the address of a pod's node.
func (f family) host(p *corev1.Pod) string {
	GinkgoHelper()
	var all []string
	for _, ip := range p.Status.HostIPs {
		all = append(all, ip.IP)
	}
	return f.of(all)
}

func (f family) node(n *nodes.Node) string {
	GinkgoHelper()
	var all []string
	for _, a := range n.Addresses() {
		all = append(all, a.String())
	}
	return f.of(all)
}

// answers is where a workload answers, be it on its node's network or not.
func (f family) answers(p *corev1.Pod) string {
	GinkgoHelper()
	return net.JoinHostPort(f.pod(p), stage.Port)
}

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

	for _, f := range families {
		for _, network := range networks {
			over := fmt.Sprintf(", over %s and %s", network, f.name)

			It("hears pods on its node and on others, under their own addresses"+over, func(ctx context.Context) {
				for _, to := range []*corev1.Pod{a, b, c} {
					who, saw, err := s.Ask(ctx, a, network, f.answers(to))
					Expect(err).NotTo(HaveOccurred())
					Expect(who).To(BeEquivalentTo(to.UID))
					Expect(saw).To(Equal(f.pod(a)))
				}
			})

			It("reaches nodes, and is masqueraded to others"+over, func(ctx context.Context) {
				for _, from := range []*corev1.Pod{a, c} {
					who, saw, err := s.Ask(ctx, from, network, f.answers(d))
					Expect(err).NotTo(HaveOccurred())
					Expect(who).To(BeEquivalentTo(d.UID))
					Expect(saw).To(BeElementOf(f.pod(from), f.host(from)), "of node %s", from.Spec.NodeName)
				}
			})

			It("is reached from nodes"+over, func(ctx context.Context) {
				for _, node := range s.Nodes() {
					who, _, err := s.AskFrom(ctx, node.Name, network, f.answers(c))
					Expect(err).NotTo(HaveOccurred(), node.Name)
					Expect(who).To(BeEquivalentTo(c.UID))
				}
			})

			It("is reached at its host port"+over, func(ctx context.Context) {
				reachedByAll(ctx, network, net.JoinHostPort(f.host(c), "18080"), c, a)
			})

			It("is reached through a Service, by itself too"+over, func(ctx context.Context) {
				service := expose(ctx, c, f)
				at := net.JoinHostPort(f.of(service.Spec.ClusterIPs), "80")
				reachedByAll(ctx, network, at, c, a)
				_, saw, err := s.Ask(ctx, a, network, at)
				Expect(err).NotTo(HaveOccurred())
				Expect(saw).To(Equal(f.pod(a)), "a Service does not hide who asks")
				for _, node := range s.Nodes() {
					reachedByAll(ctx, network, net.JoinHostPort(f.node(node), fmt.Sprint(service.Spec.Ports[0].NodePort)), c, a)
				}
			})
		}

		It(fmt.Sprintf("sends datagrams as large as its MTU says, unfragmented, and no larger, over %s", f.name), func(ctx context.Context) {
			for _, to := range []*corev1.Pod{b, c} {
				_, _, err := s.Ask(ctx, a, "--size", fmt.Sprint(podMTU-f.headers), "udp", f.answers(to))
				Expect(err).NotTo(HaveOccurred())
				_, _, err = s.Ask(ctx, a, "--size", fmt.Sprint(podMTU-f.headers+1), "udp", f.answers(to))
				Expect(err).To(MatchError(ContainSubstring("message too long")))
			}
		})
	}

	It("has tunnels over the nodes' IPv4, whatever they carry", func(ctx context.Context) {
		for _, n := range s.Nodes() {
			out, err := n.Output(ctx, "ip", "-oneline", "-details", "link", "show", "selvage0")
			Expect(err).NotTo(HaveOccurred())
			Expect(out).To(And(ContainSubstring(" local "+families[0].node(n)+" "), ContainSubstring(fmt.Sprintf(" mtu %d ", podMTU))))
		}
	})

	// The API server's own Service has one family, the cluster's first.
	It("reaches the API server through its Service", func(ctx context.Context) {
		out, err := s.Exec(ctx, a, "api")
		Expect(err).NotTo(HaveOccurred())
		Expect(out).To(HavePrefix("v1."))
	})
})

// reachedByAll asks from every node, from another pod, and from the pod itself,
// and wants it to answer.
func reachedByAll(ctx context.Context, network, at string, p, other *corev1.Pod) {
	GinkgoHelper()
	for _, from := range []*corev1.Pod{other, p} {
		who, _, err := s.Ask(ctx, from, network, at)
		Expect(err).NotTo(HaveOccurred(), "from %s at %s", from.Name, at)
		Expect(who).To(BeEquivalentTo(p.UID))
	}
	for _, node := range s.Nodes() {
		who, _, err := s.AskFrom(ctx, node.Name, network, at)
		Expect(err).NotTo(HaveOccurred(), "from %s at %s", node.Name, at)
		Expect(who).To(BeEquivalentTo(p.UID))
	}
}

// expose makes a Service of one pod, with addresses of both families, and waits
// until every node knows the one.
func expose(ctx context.Context, p *corev1.Pod, f family) *corev1.Service {
	GinkgoHelper()
	port := func(protocol corev1.Protocol) corev1.ServicePort {
		return corev1.ServicePort{
			Name: strings.ToLower(string(protocol)), Port: 80, TargetPort: intstr.FromInt32(8080), Protocol: protocol, NodePort: 30080,
		}
	}
	both := corev1.IPFamilyPolicyRequireDualStack
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{GenerateName: p.Name + "-", Namespace: p.Namespace},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeNodePort, Selector: p.Labels, IPFamilyPolicy: &both,
			Ports: []corev1.ServicePort{port(corev1.ProtocolTCP), port(corev1.ProtocolUDP)},
		},
	}
	Expect(s.Client.Create(ctx, service)).To(Succeed())
	DeferCleanup(func(ctx context.Context) { Expect(s.Client.Delete(ctx, service)).To(Succeed()) })
	for _, n := range s.Nodes() {
		Expect(s.Eventually(ctx, n.Name+" to know the Service", func(ctx context.Context) error {
			_, _, err := s.AskFrom(ctx, n.Name, "tcp", net.JoinHostPort(f.of(service.Spec.ClusterIPs), "80"))
			return err
		})).To(Succeed())
	}
	return service
}
