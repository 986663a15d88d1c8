// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/controllers"
	"github.com/selvage-net/selvage/node-agent/cniserver/wire"
	"github.com/selvage-net/selvage/test/sim/apiserver"
)

// network is the CNI network's name, config what the plugin is given.
const network = "selvage"

var config = []byte(`{"cniVersion":"1.1.0","name":"` + network + `","type":"selvage"}`)

// pod is a pod of a host's.
type pod struct {
	name string
	// sandbox is the present one; empty: none. Each has an id of its own.
	sandbox string
	addr    netip.Addr
	// posted is the address that the API shows.
	posted netip.Addr
}

// reaches reports whether a request that is made now would get through.
func (h *Host) reaches() bool { return !h.machine.w.down && !h.link.noRequests && !h.link.noReplies }

// startKubelet starts what runs pods. It is no program of ours: it makes one
// thing after another happen, at times of its own.
func (h *Host) startKubelet() {
	h.kubelet++
	run := h.kubelet
	w := h.machine.w
	beat := 0
	var round func()
	round = func() {
		if h.kubelet != run {
			return
		}
		if !h.frozen {
			h.sync()
			if beat%4 == 0 && h.reaches() {
				h.heartbeat()
			}
			beat++
		}
		w.after(3*time.Second+time.Duration(h.random.Int64N(int64(4*time.Second))), nil, round)
	}
	w.after(time.Second, nil, round)
}

// sync brings what runs a little nearer to what is wanted.
func (h *Host) sync() {
	for _, id := range h.stopped() {
		h.unlink(id)
		for _, p := range h.pods {
			if p.sandbox == id {
				p.sandbox, p.addr = "", netip.Addr{} // and made anew
			}
		}
	}
	for len(h.pods) < h.wanted && h.reaches() {
		h.made++
		p := &pod{name: fmt.Sprintf("%s-%d", h.Name, h.made)}
		h.pods = append(h.pods, p)
		h.machine.w.put(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: p.name}, Spec: corev1.PodSpec{NodeName: h.Name}})
	}
	if len(h.pods) > h.wanted {
		h.end(h.pods[h.random.IntN(len(h.pods))])
	}
	for _, p := range h.pods {
		if p.sandbox == "" && h.agent != nil {
			h.add(p)
		}
		if p.addr.IsValid() && p.addr != p.posted && h.reaches() && h.random.IntN(2) == 0 {
			h.post(p)
		}
	}
}

// add asks the agent for an interface.
func (h *Host) add(p *pod) {
	h.made++
	sandbox := fmt.Sprintf("sandbox-%s-%d", h.Name, h.made)
	a := h.agent
	p.sandbox = sandbox
	a.adding[sandbox] = true
	a.spawn(func(*task) {
		reply := a.cni.Handle(wire.Request{
			Command: "ADD", ContainerID: sandbox, NetNS: "/run/netns/" + sandbox, IfName: "eth0",
			Args: "K8S_POD_NAMESPACE=default;K8S_POD_NAME=" + p.name, Stdin: config,
		})
		delete(a.adding, sandbox)
		a.book.moved = true
		if a.dead || p.sandbox != sandbox {
			return
		}
		if reply.Exit != 0 {
			p.sandbox = ""
			return
		}
		at, there, err := h.kernel.Lookup(network, sandbox, "eth0")
		if err != nil || !there {
			panic("an ADD that succeeded has made nothing")
		}
		p.addr = at.Addresses[0]
		h.machine.w.note("%s: %s has %s", h.Name, p.name, p.addr)
		h.machine.w.checks.allocated(h, p.addr)
	}).resume()
	if h.agent == a && a.dead {
		p.sandbox = ""
	}
}

// end ends a pod: its object goes before or after its interface, and a DEL may
// never come.
func (h *Host) end(p *pod) {
	h.pods = slices.DeleteFunc(h.pods, func(o *pod) bool { return o == p })
	if p.sandbox != "" && (h.agent == nil || !h.agent.adding[p.sandbox]) {
		if h.agent != nil && h.random.IntN(2) == 0 {
			a := h.agent
			a.spawn(func(*task) {
				a.cni.Handle(wire.Request{Command: "DEL", ContainerID: p.sandbox, IfName: "eth0", Stdin: config})
				a.book.moved = true
			}).resume()
		}
		h.unlink(p.sandbox)
	}
	p.sandbox = "ended"
	h.machine.w.after(time.Duration(h.random.Int64N(int64(10*time.Second))), nil, func() { h.machine.w.deletePod(p.name) })
}

func (w *World) deletePod(name string) {
	if err := w.Server.Delete(apiserver.Pods, "default", name, nil); err != nil {
		w.note("deleting pod %s: %v", name, err)
	}
}

// post says in the API what the pod has.
func (h *Host) post(p *pod) {
	w := h.machine.w
	o, err := w.Server.Get(apiserver.Pods, "default", p.name)
	if err != nil {
		return
	}
	now := copied(o).(*corev1.Pod)
	now.Status.Phase, now.Status.PodIP = corev1.PodRunning, p.addr.String()
	now.Status.PodIPs = []corev1.PodIP{{IP: p.addr.String()}}
	if _, err := w.Server.Update(now, true); err == nil {
		p.posted = p.addr
	}
}

// heartbeat renews the kubelet's Lease.
func (h *Host) heartbeat() {
	w := h.machine.w
	now, seconds := metav1.NewMicroTime(w.wall()), int32(40)
	var lease client.Object = &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: controllers.HeartbeatNamespace, Name: h.Name}}
	if o, err := w.Server.Get(apiserver.Leases, controllers.HeartbeatNamespace, h.Name); err == nil {
		lease = copied(o)
	}
	lease.(*coordinationv1.Lease).Spec.RenewTime, lease.(*coordinationv1.Lease).Spec.LeaseDurationSeconds = &now, &seconds
	if _, err := w.Server.Update(lease, false); err != nil {
		w.note("a heartbeat: %v", err)
	}
}
