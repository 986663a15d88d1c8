// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package gitops

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/test/e2e/await"
)

// application is what the page's Argo CD Application says.
type application struct {
	APIVersion string            `json:"apiVersion"`
	Kind       string            `json:"kind"`
	Metadata   map[string]string `json:"metadata"`
	Spec       struct {
		Project     string            `json:"project"`
		Source      map[string]string `json:"source"`
		Destination map[string]string `json:"destination"`
		SyncPolicy  struct {
			Automated   struct{ Prune, SelfHeal bool } `json:"automated"`
			SyncOptions []string                       `json:"syncOptions"`
		} `json:"syncPolicy"`
	} `json:"spec"`
}

// argo does what Argo CD does for one Application, with kubectl, whose code its
// engine runs: apply, replace, replace --force, delete.
// https://argo-cd.readthedocs.io/en/stable/user-guide/sync-options/
type argo struct {
	*stage
	application
	synced examples
}

func (s *stage) argo() *argo {
	s.Helper()
	a := &argo{stage: s}
	s.must(yaml.UnmarshalStrict([]byte(page["argocd/network.yaml"]), &a.application))
	if !a.Spec.SyncPolicy.Automated.Prune || !a.Spec.SyncPolicy.Automated.SelfHeal {
		s.Fatal("the page's Application does not prune, or does not heal itself")
	}
	return a
}

func (a *argo) has(option string) bool { return slices.Contains(a.Spec.SyncPolicy.SyncOptions, option) }

// sync is one round.
func (a *argo) sync(tree examples) error {
	var failed []error
	for _, name := range slices.Sorted(maps.Keys(tree)) {
		if !strings.HasPrefix(name, a.Spec.Source["path"]+"/") {
			return fmt.Errorf("%s is not in %s", name, a.Spec.Source["path"])
		}
		failed = append(failed, a.syncOne(a.tracked(tree[name])))
	}
	for name, manifest := range a.synced {
		if tree[name] == "" && !strings.Contains(manifest, "Prune=false") {
			_, err := a.kubectl(manifest, "delete", "--wait=false", "-f", "-")
			failed = append(failed, err)
		}
	}
	a.synced = tree
	return errors.Join(failed...)
}

func (a *argo) syncOne(manifest string) error {
	if a.has("Replace=true") {
		live, err := a.kubectl(manifest, "get", "--ignore-not-found", "-o", "name", "-f", "-")
		if err != nil {
			return err
		}
		args := []string{"create", "-f", "-"}
		if live != "" {
			args[0] = "replace"
		}
		if live != "" && a.has("Force=true") {
			args = append(args, "--force")
		}
		_, err = a.kubectl(manifest, args...)
		return err
	}
	args := []string{"apply", "-f", "-"}
	if a.has("ServerSideApply=true") {
		args = append(args, "--server-side", "--force-conflicts", "--field-manager=argocd-controller")
	}
	_, err := a.kubectl(manifest, args...)
	return err
}

// tracked is the manifest with the annotation by which Argo CD knows its own.
func (a *argo) tracked(manifest string) string {
	a.Helper()
	o := &unstructured.Unstructured{}
	a.must(yaml.Unmarshal([]byte(manifest), &o.Object))
	annotations := o.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations["argocd.argoproj.io/tracking-id"] = fmt.Sprintf("%s:net.selvage.dev/%s:/%s", a.Metadata["name"], o.GetKind(), o.GetName())
	o.SetAnnotations(annotations)
	text, err := yaml.Marshal(o.Object)
	a.must(err)
	return string(text)
}

func (a *argo) kubectl(manifest string, args ...string) (string, error) {
	out, err := kubectl(a.ctx(), manifest, args...)
	if err != nil {
		err = fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return out, err
}

// The page's Application, from a removal to its revert.
func TestArgo(t *testing.T) {
	s := newStage(t)
	a := s.argo()
	s.must(a.sync(reverted()))
	first := s.peer(host3)
	host3.Down()
	s.must(a.sync(declared()))
	await.Until(s, "the removal to be healthy", func() error {
		if status, message := s.health("PeerRemoval", "host3"); status != "Healthy" || !strings.HasSuffix(message, "IPs taken over from host3") {
			return fmt.Errorf("it is %s: %s", status, message)
		}
		return nil
	})
	// Healing itself changes nothing.
	done, pool := s.removal(), s.pool()
	for range 3 {
		s.must(a.sync(declared()))
	}
	if now := s.removal(); now.ResourceVersion != done.ResourceVersion {
		t.Errorf("it was %+v and is %+v", done, now)
	}
	if now := s.pool(); now.Generation != pool.Generation {
		t.Errorf("it was %+v and is %+v", pool, now)
	}
	s.disjoint(s.removal())
	host3.Up()
	s.must(a.sync(reverted()))
	await.Until(s, "host3 to join anew", func() error { return s.serves(host3) })
	if again := s.peer(host3); again.UID == first.UID {
		t.Error("it is the same incarnation")
	}
}

// Replace=true and Force=true: the removal of a live peer is refused or declared
// anew, and a Peer cannot be replaced at all. Nothing happens to the live one.
func TestArgo_Replace(t *testing.T) {
	s := newStage(t)
	l := s.live()
	a := s.argo()
	removal := page.with("network/host3.yaml")
	s.must(a.sync(removal))
	first := s.awaitPhase(v1alpha1.RemovalFencing)

	a.Spec.SyncPolicy.SyncOptions = []string{"Replace=true"}
	if err := a.sync(removal); err == nil || !strings.Contains(err.Error(), "A replace must carry the finalizers that are there: use apply") {
		t.Errorf("replaced: %v", err)
	}
	if now := s.removal(); now.UID != first.UID || now.DeletionTimestamp != nil || len(now.Finalizers) != 1 {
		t.Errorf("a replace that was refused has changed it: %+v", now)
	}
	l.lives()

	a.Spec.SyncPolicy.SyncOptions = []string{"Replace=true", "Force=true"}
	s.must(a.sync(removal))
	if second := s.awaitPhase(v1alpha1.RemovalFencing); second.UID == first.UID {
		t.Error("it was not replaced by force")
	}
	l.lives()

	for kind, name := range map[string]string{"peer": "host3", "addressrange": l.ranges[0]} {
		// In the place of its node, and of its owner.
		changed := strings.NewReplacer("nodeName: host3", "nodeName: host2", "    name: host3", "    name: host2").Replace(s.exported(kind, name))
		for _, options := range [][]string{{"Replace=true"}, {"Replace=true", "Force=true"}, {"ServerSideApply=true"}, {}} {
			b := s.argo()
			b.Spec.SyncPolicy.SyncOptions = options
			err := b.syncOne(changed)
			if err == nil || !strings.Contains(err.Error(), "written by") && !strings.Contains(err.Error(), "is owned by host3") && !strings.Contains(err.Error(), "is invalid") {
				t.Errorf("the %s %s with %v: %v\n%s", kind, name, options, err, changed)
			}
			l.lives()
		}
	}
	l.end(func() error { return a.sync(examples{}) })
}

// What is annotated so is not pruned, by either.
func TestPoolIsNotPruned(t *testing.T) {
	s := newStage(t)
	f, a := s.flux(), s.argo()
	_, err := f.reconcile(reverted())
	s.must(err)
	_, err = f.reconcile(examples{})
	s.must(err)
	s.must(a.sync(reverted()))
	s.must(a.sync(examples{}))
	if p := s.pool(); p.DeletionTimestamp != nil {
		t.Errorf("the pool is being deleted: %+v", p.ObjectMeta)
	}
}
