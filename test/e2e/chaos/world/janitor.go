// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package world

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// janitor deletes the objects of pods that are gone, however long the API
// servers are away.
type janitor struct {
	world *World
	mu    sync.Mutex
	// wanted may have objects; names are those whose objects are to go.
	wanted, names map[string]bool
	done          chan struct{}
	ended         chan struct{}
}

func newJanitor(w *World) *janitor {
	j := &janitor{world: w, wanted: map[string]bool{}, names: map[string]bool{}, done: make(chan struct{}), ended: make(chan struct{})}
	go j.sweep()
	return j
}

// expect says that an object of that name is going to be made.
func (j *janitor) expect(name string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.wanted[name] = true
}

// remove says that it is to go.
func (j *janitor) remove(name string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.wanted, name)
	j.names[name] = true
}

// collect finds objects that came into being after all: their making had an
// unknown outcome, and was given up.
func (j *janitor) collect() {
	var pods corev1.PodList
	if j.world.Admin.List(context.Background(), &pods, client.InNamespace("default")) != nil {
		return // later
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, p := range pods.Items {
		if !j.wanted[p.Name] {
			j.names[p.Name] = true
		}
	}
}

func (j *janitor) sweep() {
	defer close(j.ended)
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for round := 1; ; round++ {
		select {
		case <-j.done:
			return
		case <-tick.C:
		}
		if round%20 == 0 {
			j.collect()
		}
		for _, name := range j.left() {
			object := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
			err := j.world.Admin.Delete(context.Background(), object, client.GracePeriodSeconds(0))
			if client.IgnoreNotFound(err) != nil {
				break // the API is away: later
			}
			j.mu.Lock()
			delete(j.names, name)
			j.mu.Unlock()
		}
	}
}

func (j *janitor) left() (names []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for name := range j.names {
		names = append(names, name)
	}
	return names
}

func (j *janitor) stop() {
	close(j.done)
	<-j.ended
}
