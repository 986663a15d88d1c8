// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package controller

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/test/e2e/await"
)

var rounds = flag.Int("rounds", 100, "rounds of simultaneous removals of one peer")

const (
	contestants = 8
	victims     = 6
)

// contest is one kubectl process of a round.
type contest struct {
	heir   string
	output string
	err    error
}

// handover is a removal that has its heir.
type handover struct{ victim, winner string }

// Eight pipelines remove one peer at the same moment, each with an heir of its
// own: through kubectl apply, forced server-side apply and create. One wins,
// and the others learn who.
func TestSimultaneousRemovals(t *testing.T) {
	// Removals overlap: nobody waits for the agents.
	s := newStageAt(t, 100*time.Millisecond)
	runController(t, controllerOptions{config: quick()})
	s.pool("default", "10.0.0.0/8", 24, 24)
	for i := range contestants {
		s.add(fmt.Sprintf("heir%d", i), script{})
	}
	for i := range victims {
		s.add(fmt.Sprintf("victim%d", i), script{})
	}
	for name := range s.agents {
		s.awaitReady(name)
	}
	dir := t.TempDir()
	began, named, wins := time.Now(), 0, map[string]int{}
	// A removal runs on while the next rounds are played with other victims,
	// and then its victim has time to join again.
	var pending []handover
	for round := range *rounds {
		victim := fmt.Sprintf("victim%d", round%victims)
		if len(pending) == victims/2 {
			s.awaitHandedOver(pending[0])
			pending = pending[1:]
		}
		s.awaitOwned(victim, 1)
		results := compete(t, dir, victim, round)
		winner, direct := s.judge(victim, results)
		if t.Failed() {
			return
		}
		named += direct
		wins[winner]++
		pending = append(pending, handover{victim, winner})
		if round%10 == 9 {
			audit(t, s.admin)
		}
	}
	for _, h := range pending {
		s.awaitHandedOver(h)
	}
	audit(t, s.admin)
	t.Logf("%d rounds of %d in %s: one heir each time; of %d refusals %d named the heir at once, the others on the next try; heirs: %v",
		*rounds, contestants, time.Since(began).Round(time.Second), *rounds*(contestants-1), named, wins)
}

func manifest(victim, heir string) string {
	return fmt.Sprintf("apiVersion: net.selvage.dev/v1alpha1\nkind: PeerRemoval\nmetadata: {name: %s}\nspec: {heir: %s}\n", victim, heir)
}

// compete starts all processes, and lets them go at the same moment.
func compete(t *testing.T, dir, victim string, round int) []contest {
	t.Helper()
	out := make([]contest, contestants)
	start := make(chan struct{})
	var done sync.WaitGroup
	for i := range contestants {
		out[i].heir = fmt.Sprintf("heir%d", i)
		path := filepath.Join(dir, fmt.Sprintf("%s-%d.yaml", victim, i))
		if err := os.WriteFile(path, []byte(manifest(victim, out[i].heir)), 0o600); err != nil {
			t.Fatal(err)
		}
		args := [][]string{
			{"apply", "-f", path},
			{"apply", "--server-side", "--force-conflicts", "-f", path},
			{"create", "-f", path},
		}[(i+round)%3]
		cmd := exec.CommandContext(t.Context(), plane.Kubectl, append(args, "--kubeconfig", plane.Kubeconfig, "--cache-dir", filepath.Join(dir, "cache"))...)
		var buf bytes.Buffer
		cmd.Stdout, cmd.Stderr = &buf, &buf
		done.Go(func() {
			<-start
			out[i].err = cmd.Run()
			out[i].output = buf.String()
		})
	}
	close(start)
	done.Wait()
	return out
}

// judge finds the one winner and counts the refusals that named it at once. A
// creation that lost the race says only that there is such a removal: whoever
// tries again is told the heir.
func (s *stage) judge(victim string, results []contest) (winner string, direct int) {
	t := s.t
	t.Helper()
	for _, r := range results {
		if r.err == nil {
			if winner != "" {
				t.Errorf("%s: both %s and %s were told that they are the heir", victim, winner, r.heir)
			}
			winner = r.heir
		}
	}
	if winner == "" {
		t.Errorf("%s: nobody won: %+v", victim, results)
		return "", 0
	}
	named := "this removal was declared with heir " + winner + ": delete it (cancel) before declaring another"
	for _, r := range results {
		switch {
		case r.err == nil:
		case strings.Contains(r.output, named):
			direct++
		case !strings.Contains(r.output, "already exists"):
			t.Errorf("%s, heir %s was refused otherwise: %s", victim, r.heir, r.output)
		default:
			if err := s.tryAgain(victim, r.heir); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), named) {
				t.Errorf("%s, heir %s, once more: %v", victim, r.heir, err)
			}
		}
	}
	return winner, direct
}

// tryAgain is a forced server-side apply, as the losers' pipelines will do at
// their next run.
func (s *stage) tryAgain(victim, heir string) error {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("PeerRemoval"))
	u.SetName(victim)
	if err := unstructured.SetNestedField(u.Object, heir, "spec", "heir"); err != nil {
		return err
	}
	return s.admin.Apply(s.t.Context(), client.ApplyConfigurationFromUnstructured(u), client.FieldOwner("pipeline"), client.ForceOwnership)
}

// awaitHandedOver waits until the winner has all that the victim had, and lets
// the victim join anew.
func (s *stage) awaitHandedOver(h handover) {
	t, victim, winner := s.t, h.victim, h.winner
	t.Helper()
	r := s.awaitRemoved(victim)
	if r.Status.Heir != winner || r.Status.Addresses != 256 || r.Status.Ranges != 1 {
		t.Fatalf("%s: the heir is %s, the removal says %+v", victim, winner, r.Status)
	}
	await.Until(t, winner+" to own what it inherited", func() error {
		ranges, _, err := s.owned(winner)
		if err != nil {
			return err
		}
		for _, rg := range ranges {
			if p := rg.Spec.PreviousOwner; rg.Spec.Epoch > 1 && (p == nil || p.UID == r.Status.PeerUID) {
				return nil
			}
		}
		return errors.New("nothing of it")
	})
	if err := s.admin.Delete(t.Context(), r); err != nil {
		t.Fatal(err)
	}
}
