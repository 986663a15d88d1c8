// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package nodes

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/test/e2e/nodes/stage"
)

var names = []string{"node1", "node2", "node3"}

// traffic is a flow over UDP and one over TCP from each node to the next,
// whose pods stay.
type traffic struct {
	service *corev1.Service // of all servers
	servers []*corev1.Pod
	flows   []stage.Flow
}

func startTraffic(ctx context.Context) *traffic {
	GinkgoHelper()
	t := &traffic{}
	for _, name := range names {
		server := stage.Pod("server-"+name, name)
		server.Labels["role"] = "server"
		t.servers = append(t.servers, server)
	}
	t.service = &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "servers", Namespace: "default"},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"role": "server"}, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.Parse(stage.Port)}}},
	}
	Expect(s.Client.Create(ctx, t.service)).To(Succeed())
	Expect(s.Start(ctx, t.servers...)).To(Succeed())
	for i, name := range names {
		for _, network := range []string{"udp", "tcp"} {
			f, err := s.StartFlow(ctx, network+"-"+name, name, network, stage.Address(t.servers[(i+1)%len(names)]))
			Expect(err).NotTo(HaveOccurred())
			t.flows = append(t.flows, f)
		}
	}
	return t
}

// lostNothing ends the flows and shows that every message was answered, by the
// pod that was there from the beginning.
func (t *traffic) lostNothing(ctx context.Context) {
	GinkgoHelper()
	total := 0
	for _, f := range t.flows {
		r, err := s.EndFlow(ctx, f)
		Expect(err).NotTo(HaveOccurred())
		Expect(r.Sent).To(BeNumerically(">", 100))
		Expect(r.Answered).To(Equal(r.Sent), "%s: %+v", f.Name, r)
		Expect(r.Refused).To(BeZero())
		Expect(r.Who).To(HaveLen(1))
		total += r.Sent
	}
	AddReportEntry("messages", fmt.Sprintf("%d sent, %d answered, over %d flows", total, total, len(t.flows)))
	Expect(s.Client.Delete(ctx, t.service)).To(Succeed())
	Expect(s.Delete(ctx, t.servers...)).To(Succeed())
}

// used is what a peer reports to be in use.
func used(ctx context.Context, name string) (int64, error) {
	var peer v1alpha1.Peer
	err := s.Client.Get(ctx, client.ObjectKey{Name: name}, &peer)
	return peer.Status.Used, err
}

// oneRetry shows that no pod's sandbox failed to be made more than once. Events
// of other tests' pods, which may well have failed, are still there.
func oneRetry(ctx context.Context, pods []*corev1.Pod) {
	GinkgoHelper()
	var events corev1.EventList
	Expect(s.Client.List(ctx, &events, client.InNamespace("default"))).To(Succeed())
	failures, why := map[types.UID]int32{}, map[types.UID][]string{}
	for _, e := range events.Items {
		if e.Reason == "FailedCreatePodSandBox" {
			failures[e.InvolvedObject.UID] += max(e.Count, 1)
			why[e.InvolvedObject.UID] = append(why[e.InvolvedObject.UID], e.Message)
		}
	}
	for _, pod := range pods {
		Expect(failures[pod.UID]).To(BeNumerically("<=", 1), "%s: %q", pod.Name, why[pod.UID])
	}
}

var _ = Describe("under traffic", Ordered, func() {
	It("agents and controller are upgraded, node by node", func(ctx context.Context) {
		t := startTraffic(ctx)
		steady, err := s.Steady(ctx)
		Expect(err).NotTo(HaveOccurred())
		for _, workload := range []string{"daemonset/selvage-agent", "deployment/selvage-controller"} {
			_, err := s.Kubectl(ctx, "--namespace", stage.Namespace, "rollout", "restart", workload)
			Expect(err).NotTo(HaveOccurred())
		}
		By("pods start meanwhile")
		var started []*corev1.Pod
		for i := range 10 {
			for _, name := range names {
				started = append(started, stage.Pod(fmt.Sprintf("meanwhile-%s-%d", name, i), name))
			}
		}
		Expect(s.Start(ctx, started...)).To(Succeed())
		for _, workload := range []string{"daemonset/selvage-agent", "deployment/selvage-controller"} {
			_, err := s.Kubectl(ctx, "--namespace", stage.Namespace, "rollout", "status", workload, "--timeout=180s")
			Expect(err).NotTo(HaveOccurred())
		}
		Expect(steady()).To(Succeed())
		oneRetry(ctx, started)
		Expect(s.Delete(ctx, started...)).To(Succeed())
		t.lostNothing(ctx)
	}, forRemoval)

	It("the API server is away, and agents are killed meanwhile", func(ctx context.Context) {
		t := startTraffic(ctx)
		before := map[string]string{}
		for _, name := range names {
			before[name] = uid(ctx, name)
		}
		outage := 3 * stage.Lease
		if os.Getenv("LONG") != "" {
			outage = 10 * time.Minute
		}
		s.ControlPlane.APIServer.Stop()
		for _, name := range names {
			_, err := s.Kill(ctx, name, "selvage-agent")
			Expect(err).NotTo(HaveOccurred())
		}
		// The outage is what is tested: nothing is waited for.
		select {
		case <-time.After(outage):
		case <-ctx.Done():
		}
		Expect(s.ControlPlane.APIServer.Start(ctx)).To(Succeed())
		for _, name := range names {
			Expect(s.AwaitPeer(ctx, name, "")).To(Succeed())
			Expect(uid(ctx, name)).To(Equal(before[name]), "an outage removes nobody")
		}
		Expect(s.WaitReady(ctx)).To(Succeed())
		pod := stage.Pod("afterwards", "node2")
		Expect(s.Start(ctx, pod)).To(Succeed())
		Expect(s.Delete(ctx, pod)).To(Succeed())
		t.lostNothing(ctx)
	}, Label("long"), NodeTimeout(25*time.Minute))

	It("containerd and kubelet are killed", func(ctx context.Context) {
		t := startTraffic(ctx)
		for _, program := range []string{"containerd", "kubelet"} {
			for _, name := range names {
				_, err := s.Kill(ctx, name, program)
				Expect(err).NotTo(HaveOccurred())
			}
			Expect(s.WaitReady(ctx)).To(Succeed())
		}
		pods := crowd("restarted", "node3", 3)
		Expect(s.Start(ctx, pods...)).To(Succeed())
		answers(ctx, t.servers[0], pods...)
		Expect(s.Delete(ctx, pods...)).To(Succeed())
		t.lostNothing(ctx)
	}, forRemoval)
})

var _ = Describe("churn", Label("long"), Ordered, func() {
	It("pods start while their agent is killed again and again", func(ctx context.Context) {
		asker := stage.Pod("asking", "node1")
		Expect(s.Start(ctx, asker)).To(Succeed())
		pods := crowd("killed", "node2", 30)
		killing, stop := context.WithCancel(ctx)
		var killers errgroup.Group
		killed := 0
		killers.Go(func() (err error) {
			killed, err = killAtRandom(killing, 4*time.Second, "node2")
			return err
		})
		err := s.Start(ctx, pods...)
		stop()
		Expect(killers.Wait()).To(Succeed())
		Expect(err).NotTo(HaveOccurred())
		Expect(killed).To(BeNumerically(">", 0))
		answers(ctx, asker, pods...)
		Expect(s.Delete(ctx, append(pods, asker)...)).To(Succeed())
	}, forRemoval)

	It("500 pods come and go on three nodes while agents are killed at random", func(ctx context.Context) {
		killing, stop := context.WithCancel(ctx)
		var killers, workers errgroup.Group
		killed := 0
		killers.Go(func() (err error) {
			killed, err = killAtRandom(killing, 5*time.Second, names...)
			return err
		})
		var mu sync.Mutex
		var next, ran int
		for range 12 {
			workers.Go(func() error {
				for {
					mu.Lock()
					i := next
					next++
					mu.Unlock()
					if i >= 500 {
						return nil
					}
					pod := stage.Pod(fmt.Sprintf("churn-%d", i), names[i%len(names)])
					if err := s.Start(ctx, pod); err != nil {
						return err
					}
					mu.Lock()
					ran++
					mu.Unlock()
					if err := s.Delete(ctx, pod); err != nil {
						return err
					}
				}
			})
		}
		err := workers.Wait()
		stop()
		Expect(killers.Wait()).To(Succeed())
		Expect(err).NotTo(HaveOccurred())
		AddReportEntry("churn", fmt.Sprintf("%d of 500 pods ran, agents killed %d times", ran, killed))
		Expect(killed).To(BeNumerically(">", 3))
		for _, name := range names {
			Expect(s.Eventually(ctx, name+" to have leaked nothing", func(ctx context.Context) error {
				now, err := used(ctx, name)
				if err == nil && now != 1 {
					err = fmt.Errorf("%d addresses are in use, not the host's own alone", now)
				}
				return err
			})).To(Succeed())
		}
	}, NodeTimeout(15*time.Minute))
})

// killAtRandom kills the agent of one of the nodes at random times, until the
// context ends. It returns how often.
func killAtRandom(ctx context.Context, mean time.Duration, nodes ...string) (killed int, _ error) {
	random := rand.New(rand.NewPCG(uint64(GinkgoRandomSeed()), 1))
	for {
		select {
		case <-ctx.Done():
			return killed, nil
		case <-time.After(time.Duration(random.ExpFloat64() * float64(mean))):
		}
		// One that is not back yet cannot be killed.
		if n, err := s.Kill(context.WithoutCancel(ctx), nodes[random.IntN(len(nodes))], "selvage-agent"); err == nil {
			killed += n
		}
	}
}
