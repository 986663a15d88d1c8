// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package world

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// kubelet runs pods on a machine: as many as are wanted, and now and then
// others in their places.
type kubelet struct {
	machine *Machine
	rng     *rand.Rand

	mu      sync.Mutex
	wanted  int
	pods    []*pod
	count   int
	refused string // what the last ADD said
	ctx     context.Context
	stop    context.CancelFunc
	loop    sync.WaitGroup
	// disposals are DELs that are repeated until they succeed.
	disposals sync.WaitGroup
}

func (k *kubelet) init(m *Machine) {
	k.machine = m
	k.ctx, k.stop = context.WithCancel(context.Background())
}

// RunPods begins to keep that many pods, whose coming and going the seed
// decides.
func (m *Machine) RunPods(wanted int, seed uint64) {
	k := &m.kubelet
	k.rng = rand.New(rand.NewPCG(seed, uint64(len(m.Name))))
	k.want(wanted)
	k.loop.Go(k.keep)
}

// Drain ends all pods and starts none until Fill.
func (m *Machine) Drain() { m.kubelet.want(0) }

// Fill lets pods run again.
func (m *Machine) Fill(wanted int) { m.kubelet.want(wanted) }

func (k *kubelet) want(count int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.wanted = count
}

// keep is the kubelet's loop.
func (k *kubelet) keep() {
	for {
		select {
		case <-k.ctx.Done():
			return
		case <-time.After(time.Duration(300+k.rng.IntN(1200)) * time.Millisecond):
		}
		k.replaceStale()
		k.mu.Lock()
		surplus, lacking := len(k.pods)-k.wanted, k.wanted-len(k.pods)
		k.mu.Unlock()
		switch {
		case surplus > 0:
			for range surplus {
				k.endOne()
			}
		case lacking > 0:
			k.startOne()
		case k.rng.IntN(4) == 0:
			k.endOne()
		}
	}
}

// replaceStale ends pods whose link was taken down: their runtime would be told
// to stop them, and the kubelet makes them anew.
func (k *kubelet) replaceStale() {
	for _, p := range k.all() {
		if runs, addresses := p.link(); len(addresses) > 0 && !runs {
			k.take(p)
			k.dispose(p)
		}
	}
}

// all are the pods that are not ending.
func (k *kubelet) all() []*pod {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append([]*pod(nil), k.pods...)
}

// take takes a pod out of those that are kept.
func (k *kubelet) take(p *pod) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i, q := range k.pods {
		if q == p {
			k.pods = append(k.pods[:i:i], k.pods[i+1:]...)
			p.ending = true
			return true
		}
	}
	return false
}

// newPod makes an object and a namespace; ADD is not called yet.
func (m *Machine) newPod(ctx context.Context, name string) (*pod, error) {
	w := m.world
	w.janitor.expect(name)
	object, err := w.Plane.NewPod(ctx, "default", name, m.Name, "")
	if err != nil {
		w.janitor.remove(name) // it may be there all the same
		return nil, err
	}
	p := &pod{name: name, machine: m, object: object}
	m.mu.Lock()
	p.boot = m.boot
	p.space, err = m.host.NewPod(name)
	m.mu.Unlock()
	if err == nil {
		p.voice, err = w.speak(p.space.Namespace, name, m.Name)
	}
	if err != nil {
		w.janitor.remove(name)
		return nil, err
	}
	return p, nil
}

// startOne makes a pod and calls ADD.
func (k *kubelet) startOne() {
	k.count++
	ctx, cancel := context.WithTimeout(k.ctx, requestTimeout)
	defer cancel()
	p, err := k.machine.newPod(ctx, fmt.Sprintf("%s-pod%d", k.machine.Name, k.count))
	if err != nil {
		return // the API is away: later
	}
	k.mu.Lock()
	k.pods = append(k.pods, p)
	k.mu.Unlock()
	if err := p.add(); err != nil {
		k.refusal(err)
		if k.take(p) {
			k.dispose(p)
		}
		return
	}
	k.refusal(nil)
	k.report(p)
}

func (k *kubelet) refusal(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.refused = ""
	if err != nil {
		k.refused = err.Error()
	}
}

// report puts the address into the pod's object, as late as a kubelet may.
func (k *kubelet) report(p *pod) {
	late := time.Duration(k.rng.IntN(2500)) * time.Millisecond
	k.disposals.Go(func() {
		select {
		case <-k.ctx.Done():
			return
		case <-time.After(late):
		}
		ctx, cancel := context.WithTimeout(k.ctx, 3*requestTimeout)
		defer cancel()
		_ = Persist(ctx, func(ctx context.Context) error {
			if !k.has(p) {
				return nil
			}
			err := p.machine.world.Plane.SetPodAddresses(ctx, p.object, p.addr())
			if apierrors.IsNotFound(err) {
				return nil
			}
			return err
		})
	})
}

func (k *kubelet) has(p *pod) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return !p.ending
}

// endOne ends a pod by chance.
func (k *kubelet) endOne() {
	pods := k.all()
	if len(pods) == 0 {
		return
	}
	if p := pods[k.rng.IntN(len(pods))]; k.take(p) {
		k.dispose(p)
	}
}

// dispose calls DEL until it succeeds, and removes the namespace. Of some pods
// the runtime forgets DEL.
func (k *kubelet) dispose(p *pod) {
	forgotten := k.rng.IntN(8) == 0
	k.disposals.Go(func() {
		since := k.machine.world.Now()
		p.releasing(since)
		if forgotten {
			p.vanish(since, "no DEL, namespace gone")
			return
		}
		for {
			if _, err := p.plugin("DEL"); err == nil {
				p.vanish(since, "DEL")
				return
			}
			select {
			case <-k.ctx.Done():
				p.vanish(since, "the end")
				return
			case <-time.After(time.Second):
			}
			if k.machine.rebooted(p) {
				p.vanish(since, "rebooted")
				return
			}
		}
	})
}

// lose is a power cut: all namespaces go at once.
func (k *kubelet) lose() {
	for _, p := range k.all() {
		if k.take(p) {
			since := k.machine.world.Now()
			p.vanish(since, "power cut")
		}
	}
}

// end ends the loop, and all pods.
func (k *kubelet) end() {
	k.stop()
	k.loop.Wait()
	k.disposals.Wait()
	k.lose()
}

// rebooted says whether the pod's host is another than the machine's now.
func (m *Machine) rebooted(p *pod) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.boot != p.boot
}

// Ask has a pod of the machine's, chosen by chance, ask an address that was
// given out lately who is there.
func (m *Machine) Ask(rng *rand.Rand) {
	pods := m.kubelet.all()
	address, ok := m.world.book.pick(rng.IntN)
	if len(pods) > 0 && ok {
		pods[rng.IntN(len(pods))].voice.ask(address)
	}
}

// AskEach has each pod of the machine's ask each of the addresses.
func (m *Machine) AskEach(addresses []netip.Addr) {
	for _, p := range m.kubelet.all() {
		for _, a := range addresses {
			p.voice.ask(a)
		}
	}
}

// Pods are the names of the pods that run, with their addresses.
func (m *Machine) Pods() map[string]netip.Addr {
	out := map[string]netip.Addr{}
	for _, p := range m.kubelet.all() {
		if a := p.addr(); a.IsValid() {
			out[p.name] = a
		}
	}
	return out
}

// Refused is what the last ADD said, unless it succeeded.
func (m *Machine) Refused() string {
	m.kubelet.mu.Lock()
	defer m.kubelet.mu.Unlock()
	return m.kubelet.refused
}
