// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
)

func declaration(heir string) string {
	return "apiVersion: net.selvage.dev/v1alpha1\nkind: PeerRemoval\nmetadata: {name: host3}\nspec: {heir: " + heir + "}\n"
}

// The two pipelines. The second takes over fields that others own, as Flux
// always does and Argo CD may.
var (
	plainApply  = []string{"kubectl", "apply", "-f", "-"}
	forcedApply = []string{"kubectl", "apply", "--server-side", "--force-conflicts", "--field-manager=pipeline", "-f", "-"}
)

type attempt struct {
	heir string
	args []string
	out  string
	err  error
}

func (a *attempt) run(ctx context.Context, w *world) {
	a.out, a.err = w.run(ctx, declaration(a.heir), a.args...)
}

func (a *attempt) tell(say *scribe) {
	line := strings.TrimSuffix(strings.Join(a.args, " "), "-") + "host3-to-" + a.heir + ".yaml"
	say.command(line, a.out)
}

// alreadyExists is the answer to a kubectl apply that found no removal, meant to
// create one, and lost against the other: there is one removal per peer.
const alreadyExists = `peerremovals.net.selvage.dev "host3" already exists`

// refused says whether it was, and for being second.
func (a *attempt) refused(heir string) bool {
	return a.err != nil && (strings.Contains(a.out, "declared with heir "+heir) || strings.Contains(a.out, alreadyExists))
}

func (w *world) race(ctx context.Context, say *scribe) (string, error) {
	both := []*attempt{{heir: "host1", args: forcedApply}, {heir: "host2", args: plainApply}}
	var running sync.WaitGroup
	for _, a := range both {
		running.Go(func() { a.run(ctx, w) })
	}
	running.Wait()
	for _, a := range both {
		a.tell(say)
		switch {
		case a.err == nil && w.heir != "":
			return "", errors.New("both were accepted")
		case a.err == nil:
			w.heir = a.heir
		default:
			w.loser = a.heir
		}
	}
	if w.heir == "" {
		return "", errors.New("neither was accepted")
	}
	refusals := []*attempt{{heir: w.loser, args: forcedApply}, {heir: w.loser, args: plainApply}}
	for _, a := range refusals {
		a.run(ctx, w)
		a.tell(say)
	}
	for _, a := range append(both, refusals...) {
		if a.heir == w.loser && !a.refused(w.heir) {
			return "", fmt.Errorf("heir %s is not refused as it should be: %s", a.heir, a.out)
		}
	}
	for _, a := range refusals {
		if strings.Contains(a.out, alreadyExists) {
			return "", fmt.Errorf("heir %s is not told that %s is the heir: %s", a.heir, w.heir, a.out)
		}
	}
	return fmt.Sprintf("heir %s was first; heir %s was refused three times", w.heir, w.loser), nil
}

func (w *world) takeOver(ctx context.Context, say *scribe) (string, error) {
	if _, err := w.show(ctx, say, "kubectl", "get", "peers"); err != nil {
		return "", err
	}
	// Where the removal is done already, it says so in other words.
	out, err := w.show(ctx, say, "kubectl", "selvage", "rmpeer", "host3", "--heir", w.heir, "--wait", "--timeout", patience.String())
	if err != nil {
		return "", err
	}
	if !strings.Contains(out, "524288 IPs") {
		return "", errors.New("it does not say what became of 524288 IPs")
	}
	if err := eventually(ctx, w.removed); err != nil {
		return "", err
	}
	if _, err := w.show(ctx, say, "kubectl", "get", "peerremovals"); err != nil {
		return "", err
	}
	if err := eventually(ctx, func(ctx context.Context) error { return w.owns(ctx, w.heir, 3) }); err != nil {
		return "", err
	}
	late, err := w.run(ctx, "", "kubectl", "selvage", "rmpeer", "host3", "--heir", w.loser)
	say.command("kubectl selvage rmpeer host3 --heir "+w.loser, late)
	if err == nil || !strings.Contains(late, w.heir) {
		return "", fmt.Errorf("a second heir, too late, is not refused by naming %s", w.heir)
	}
	if _, err := w.show(ctx, say, "kubectl", "get", "peers"); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s: %s owns 3 ranges, host3 none", sentence, w.heir), nil
}

// removed says what a finished removal lacks.
func (w *world) removed(ctx context.Context) error {
	removal := &v1alpha1.PeerRemoval{}
	if err := w.client.Get(ctx, client.ObjectKey{Name: "host3"}, removal); err != nil {
		return err
	}
	st := removal.Status
	if st.Phase != v1alpha1.RemovalRemoved || st.Heir != w.heir || st.Addresses != inheritance || st.Ranges != 2 {
		return fmt.Errorf("the removal's status says %s, heir %q, %d ranges, %d addresses", st.Phase, st.Heir, st.Ranges, st.Addresses)
	}
	said := false
	for _, c := range st.Conditions {
		said = said || c.Type == v1alpha1.ConditionReady && c.Status == "True" && strings.Contains(c.Message, sentence)
	}
	if !said {
		return fmt.Errorf("no condition of the removal says %q: %v", sentence, st.Conditions)
	}
	events := &corev1.EventList{}
	if err := w.client.List(ctx, events); err != nil {
		return err
	}
	for _, e := range events.Items {
		if e.Message == sentence {
			return nil
		}
	}
	return fmt.Errorf("none of %d Events says %q", len(events.Items), sentence)
}

func (w *world) reuse(ctx context.Context, say *scribe) (string, error) {
	m := w.machines[w.heir]
	_, early := m.newPod(ctx, "too-early", w.dead)
	if early == nil {
		return "", fmt.Errorf("%s was given although pod3's object still has it", w.dead)
	}
	say.paragraph("", early.Error())
	if err := w.deletePod(ctx, w.pods["pod3"]); err != nil {
		return "", err
	}
	err := eventually(ctx, func(ctx context.Context) error {
		_, err := m.newPod(ctx, "pod5", w.dead)
		return err
	})
	if err != nil {
		return "", err
	}
	fifth := w.pods["pod5"]
	if fifth.address != w.dead {
		return "", fmt.Errorf("pod5 got %s instead of %s", fifth.address, w.dead)
	}
	for _, name := range []string{"pod1", "pod2"} {
		if err := w.pods[name].reaches(ctx, fifth); err != nil {
			return "", err
		}
		if who, err := w.pods[name].whoIs(ctx, w.dead, patience); err != nil || who != "pod5" {
			return "", fmt.Errorf("%s asks %s who is there: %q (%w)", name, w.dead, who, err)
		}
	}
	return fmt.Sprintf("pod5 on %s answers on %s", w.heir, w.dead), nil
}

func (w *world) comeBack(ctx context.Context, say *scribe) (string, error) {
	m := w.machines["host3"]
	if err := m.host.Heal(); err != nil {
		return "", err
	}
	// The link carries again: host3 itself is reached, so that silence later
	// means a fence and not a cable.
	if err := w.machines["host1"].host.Ping(ctx, m.host.Address, patience); err != nil {
		return "", err
	}
	if err := w.silence(ctx, "without its agent"); err != nil {
		return "", err
	}
	if err := m.start(); err != nil {
		return "", err
	}
	if err := eventually(ctx, w.fenced); err != nil {
		return "", err
	}
	if err := w.silence(ctx, "with its old agent"); err != nil {
		return "", err
	}
	_, refused := m.newPod(ctx, "too-early", netip.Addr{})
	if refused == nil {
		return "", errors.New("host3 attaches pods although it is out of the network")
	}
	say.paragraph("", refused.Error())
	return "pod3 was heard by nobody; host3 attaches no pods, and its old Peer is gone", nil
}

// fenced waits for the old Peer's going, which takes its agent's
// acknowledgement.
func (w *world) fenced(ctx context.Context) error {
	if err := w.machines["host3"].check(); err != nil {
		return err
	}
	peer := &v1alpha1.Peer{}
	err := w.client.Get(ctx, client.ObjectKey{Name: "host3"}, peer)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	return fmt.Errorf("the old Peer of host3 is still there: phase %s, agent %+v", peer.Status.Phase, peer.Status.Agent)
}

// silence lets the stale pod talk, and listens.
func (w *world) silence(ctx context.Context, when string) error {
	stale, fifth := w.pods["pod3"], w.pods["pod5"]
	for _, name := range []string{"pod1", "pod2"} {
		other := w.pods[name]
		before := len(other.ear.Heard())
		until := time.Now().Add(silencePeriod)
		for count := 0; time.Now().Before(until); count++ {
			text := fmt.Sprintf("stale %d", count)
			if err := stale.space.Say(netip.AddrPortFrom(other.address, hearPort), text); err != nil {
				return err
			}
			if who, err := other.whoIs(ctx, w.dead, patience); err != nil || who != "pod5" {
				return fmt.Errorf("%s, %s asks %s who is there: %q (%w)", when, name, w.dead, who, err)
			}
		}
		// What is said last and heard shows that what was said before would
		// have been heard.
		if err := fifth.space.Say(netip.AddrPortFrom(other.address, hearPort), "pod5"); err != nil {
			return err
		}
		err := eventually(ctx, func(context.Context) error {
			heard := other.ear.Heard()[before:]
			for _, h := range heard {
				if h.Text != "pod5" {
					return &finalError{fmt.Errorf("%s, %s hears the stale pod3: %+v", when, name, h)}
				}
			}
			if len(heard) == 0 {
				return fmt.Errorf("%s hears nobody, not even pod5", name)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
