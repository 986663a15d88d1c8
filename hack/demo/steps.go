// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// The story's numbers: a /12 has four ranges of /14, and host3, which wants
// more free than one range holds, grows once.
const (
	poolCIDR      = "10.32.0.0/12"
	rangeSize     = 262144
	headroom      = rangeSize + 1
	inheritance   = 2 * rangeSize
	sentence      = "524288 IPs taken over from host3"
	pingInterval  = 5 * time.Millisecond
	silencePeriod = time.Second
)

const pool = `apiVersion: net.selvage.dev/v1alpha1
kind: AddressPool
metadata: {name: default}
spec: {cidr: ` + poolCIDR + `, rangePrefixLength: 14, maxRangePrefixLength: 14}
`

// A person who tries to write what only the controller writes.
const forgery = `apiVersion: net.selvage.dev/v1alpha1
kind: AddressRange
metadata: {name: 10.32.0.0}
spec: {pool: default, cidr: 10.32.0.0/14, epoch: 0}
`

func (w *world) steps() []step {
	return []step{
		{"a control plane with Selvage installed",
			"builds Selvage's programs, boots etcd and kube-apiserver, applies config/default and config/crd-guard",
			"the API server refuses an AddressRange that a person writes", w.install},
		{"three hosts and a pool",
			fmt.Sprintf("divides %s into ranges of /14, starts an agent on host1, host2 and host3, in this order;\nhost3's wants %d addresses free, more than one range holds. Leases last %s here (by default 60s)", poolCIDR, headroom, w.leaseDuration),
			fmt.Sprintf("host1 and host2 own 1 range each, host3 has grown once and owns 2: %d addresses", inheritance), w.join},
		{"pods on all hosts",
			"attaches pod1 to host1, pod2 to host2, pod3 to host3 by CNI ADD, as a container runtime does",
			"each has an address of its host's range, and each pings each", w.attachPods},
		{"host2's agent dies and starts again, under traffic",
			fmt.Sprintf("pings pod2 from pod1 and from pod3 every %s, kills host2's agent with SIGKILL, starts it again,\nattaches one more pod there; then stops and starts the agent once more, as an upgrade does", pingInterval),
			"no ping is lost, and the new pod4 gets an address of its own", w.restartAgent},
		{"host3 catches fire",
			"kills host3's agent and cuts host3's link; its pods' namespaces stay as they are",
			"pod3 answers nobody any more", w.fire},
		{"two pipelines remove host3 at the same moment, with different heirs",
			"declares heir host1 by forced server-side apply and heir host2 by kubectl apply, at once;\nthen tries the other heir again in both ways",
			"one is accepted; every other is refused, by force too, and told who the heir is", w.race},
		{"the heir takes over",
			"waits for the removal with kubectl selvage rmpeer, then asks for another heir, too late",
			sentence + ": in the removal's status and as an Event; all of host3's ranges go to the one heir", w.takeOver},
		{"the heir uses a dead pod's address",
			"asks on the heir for pod3's address by the CNI capability ips, before and after pod3's object is deleted",
			"refused while the object says that pod3 has it; then pod5 gets it and answers on it", w.reuse},
		{"host3 comes back with its stale pod",
			"heals the link; pod3, still with its old address, talks to pods of the other hosts;\nthen host3's old agent starts on what is left on its disk",
			"nobody hears pod3, pod5 alone answers on the address, and the agent fences itself", w.comeBack},
		{"host3 may join again",
			"deletes the PeerRemoval; the runtime removes pod3 and attaches pod6",
			"the heir gives an idle range back, host3 starts from scratch as a new peer, pod6 and all others ping", w.rejoin},
		{"everything is as it must be",
			"audits ownership in the whole cluster: kubectl selvage check",
			"no invariant is broken", w.audit},
	}
}

func (w *world) install(ctx context.Context, say *scribe) (string, error) {
	if err := w.buildPrograms(ctx); err != nil {
		return "", err
	}
	if err := w.startControlPlane(ctx); err != nil {
		return "", err
	}
	out, err := w.run(ctx, forgery, "kubectl", "create", "-f", "-")
	say.command("kubectl create -f addressrange.yaml", out)
	if err == nil || !strings.Contains(out, "addressrange-single-writer") {
		return "", fmt.Errorf("it is not refused: %w", err)
	}
	return "refused", nil
}

func (w *world) join(ctx context.Context, say *scribe) (string, error) {
	if out, err := w.run(ctx, pool, "kubectl", "apply", "-f", "-"); err != nil {
		return "", fmt.Errorf("applying the pool: %w: %s", err, out)
	}
	if err := w.startController(ctx); err != nil {
		return "", err
	}
	if err := w.startHosts(ctx); err != nil {
		return "", err
	}
	for _, name := range []string{"host1", "host2", "host3"} {
		want := 1
		if name == "host3" {
			want = 2
		}
		if err := w.machines[name].start(); err != nil {
			return "", err
		}
		err := eventually(ctx, func(ctx context.Context) error { return w.owns(ctx, name, want) })
		if err != nil {
			return "", err
		}
	}
	for _, args := range [][]string{{"get", "addresspools"}, {"get", "addressranges"}, {"get", "peers"}} {
		if _, err := w.show(ctx, say, append([]string{"kubectl"}, args...)...); err != nil {
			return "", err
		}
	}
	return "1, 1 and 2 ranges, all reported by their owners' agents", nil
}

func (w *world) attachPods(ctx context.Context, _ *scribe) (string, error) {
	for i, name := range []string{"host1", "host2", "host3"} {
		p, err := w.machines[name].runPod(ctx, fmt.Sprintf("pod%d", i+1), netip.Addr{})
		if err != nil {
			return "", err
		}
		if err := w.inRangeOf(ctx, p.address, name); err != nil {
			return "", err
		}
	}
	w.dead = w.pods["pod3"].address
	pings, err := w.allPing(ctx)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s; %d of %d pings answered", w.addresses(), pings, pings), nil
}

func (w *world) restartAgent(ctx context.Context, _ *scribe) (string, error) {
	target, m := w.pods["pod2"].address, w.machines["host2"]
	one, err := w.pods["pod1"].space.StartPing(target, pingInterval)
	if err != nil {
		return "", err
	}
	three, err := w.pods["pod3"].space.StartPing(target, pingInterval)
	if err != nil {
		return "", err
	}
	killed := time.Now()
	if err := w.restart(ctx, m, m.agent.Kill); err != nil {
		return "", err
	}
	fourth, err := m.runPod(ctx, "pod4", netip.Addr{})
	if err != nil {
		return "", err
	}
	if err := w.pods["pod1"].reaches(ctx, fourth); err != nil {
		return "", err
	}
	if err := w.restart(ctx, m, func() { m.stop(killGrace) }); err != nil {
		return "", err
	}
	if err := eventually(ctx, fourth.checked); err != nil {
		return "", err
	}
	a, b := one.Stop(patience), three.Stop(patience)
	saw := fmt.Sprintf("%d of %d pings lost, longest silence %s; pod4 has %s",
		a.Lost()+b.Lost(), a.Sent+b.Sent, max(a.LongestGap, b.LongestGap).Round(time.Millisecond), fourth.address)
	if a.Lost()+b.Lost() > 0 || fourth.address == target {
		return "", fmt.Errorf("%s; after the kill, pod1 asked in vain %s, pod3 %s", saw, since(killed, a.Unanswered), since(killed, b.Unanswered))
	}
	return saw, nil
}

func since(start time.Time, times []time.Time) []time.Duration {
	var after []time.Duration
	for _, t := range times {
		after = append(after, t.Sub(start).Round(time.Millisecond))
	}
	return after
}

// restart ends the agent, starts it again, and waits until the new run has
// taken the node's Lease: by then it has resumed.
func (w *world) restart(ctx context.Context, m *machine, end func()) error {
	before, err := w.holder(ctx, m)
	if err != nil {
		return err
	}
	end()
	if err := m.start(); err != nil {
		return err
	}
	return eventually(ctx, func(ctx context.Context) error {
		if err := m.check(); err != nil {
			return err
		}
		now, err := w.holder(ctx, m)
		if err == nil && now == before {
			err = fmt.Errorf("the new agent of %s has not taken the Lease yet", m.name)
		}
		return err
	})
}

func (w *world) fire(ctx context.Context, _ *scribe) (string, error) {
	m := w.machines["host3"]
	m.agent.Kill()
	if err := m.host.Cut(); err != nil {
		return "", err
	}
	if err := w.pods["pod1"].space.Ping(ctx, w.dead, silencePeriod); err == nil {
		return "", fmt.Errorf("pod3 still answers pod1")
	}
	return "silence", nil
}

func (w *world) audit(ctx context.Context, say *scribe) (string, error) {
	var out string
	err := eventually(ctx, func(ctx context.Context) error {
		var err error
		if out, err = w.run(ctx, "", "kubectl", "selvage", "check"); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	say.command("kubectl selvage check", out)
	if err != nil {
		return "", err
	}
	for _, what := range []string{"status", "ipam"} {
		if _, err := w.show(ctx, say, "kubectl", "selvage", what); err != nil {
			return "", err
		}
	}
	return "nothing is broken", nil
}
