// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/node-agent/membership"
	"github.com/selvage-net/selvage/test/e2e/await"
)

// smallDisk puts the machine's state on a file system of its own.
func (m *machine) smallDisk() {
	m.t.Helper()
	if err := os.MkdirAll(m.disk, 0o700); err != nil {
		m.t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", m.disk, "tmpfs", 0, "size=64k"); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { _ = unix.Unmount(m.disk, unix.MNT_DETACH) })
}

// fill takes all the space that is left.
func (m *machine) fill() (release func()) {
	m.t.Helper()
	path := filepath.Join(m.disk, "somebody-elses-log")
	file, err := os.Create(path)
	if err != nil {
		m.t.Fatal(err)
	}
	for err == nil {
		_, err = file.Write(make([]byte, 4096))
	}
	_ = file.Close()
	return func() { _ = os.Remove(path) }
}

func (m *machine) logs(words ...string) error {
	text, err := os.ReadFile(m.log)
	if err != nil {
		return err
	}
	for _, word := range words {
		if !strings.Contains(string(text), word) {
			return fmt.Errorf("the log does not speak of %q", word)
		}
	}
	return nil
}

// A full disk under the identity file: what is owned goes on, what is new is not
// taken on, nothing is lost; with space again all goes on.
func TestDisk_Full(t *testing.T) {
	s := newStage(t)
	a := newMachine(t)
	a.smallDisk()
	p, r := s.join(a)
	x := a.awaitPod()
	release := a.fill()
	fresh := s.grant(p)
	await.Until(t, "the remedy in the log", func() error { return a.logs("no space left on device", "df -h "+a.disk) })
	a.newPod() // from what is on disk already
	if epoch := s.rangeNow(fresh).Status.ObservedEpoch; epoch != 0 {
		t.Errorf("a range that is not on disk was taken on: epoch %d", epoch)
	}
	if record := a.record(); record.PeerUID != string(p.UID) || !record.Ranges[string(r.UID)].Owned {
		t.Errorf("the record is damaged: %+v", record)
	}
	release()
	a.awaitOwns(s, fresh)
	s.must(x.isUp())

	release = a.fill() // and at a start
	a.kill()
	a.start()
	a.awaitServing()
	if again, err := x.add(); err != nil || again != x.addr {
		t.Errorf("a repeated ADD gave %s (%v), not %s", again, err, x.addr)
	}
	release()
}

// A read-only disk: an acknowledgement that is not on disk is not made.
func TestDisk_ReadOnly(t *testing.T) {
	s := newStage(t)
	a := newMachine(t)
	a.smallDisk()
	s.join(a)
	s.must(unix.Mount("", a.disk, "", unix.MS_REMOUNT|unix.MS_RDONLY, "size=64k"))
	s.declare(a.node)
	a.awaitRow(membership.Suspended)
	await.Until(t, "the remedy in the log", func() error { return a.logs("read-only file system", "remount,rw") })
	if fenced := s.peer(a.node).Status.Agent.Fenced; fenced != nil {
		t.Errorf("acknowledged without a disk: %+v", fenced)
	}
	s.must(unix.Mount("", a.disk, "", unix.MS_REMOUNT, "size=64k"))
	s.awaitPeer(a.node, "an acknowledgement", func(p *v1alpha1.Peer) bool { return p.Status.Agent.Fenced != nil })
}

// A damaged record is never taken for an empty one.
func TestDisk_Damaged(t *testing.T) {
	s := newStage(t)
	a := newMachine(t)
	s.join(a)
	a.kill()
	path := filepath.Join(a.disk, "identity")
	whole, err := os.ReadFile(path)
	s.must(err)
	for name, damaged := range map[string][]byte{
		"empty": {}, "cut short": whole[:len(whole)/2], "of no version": append([]byte("selvage-identity/0\n"), whole...),
		"a bit flipped": append(append([]byte{}, whole[:60]...), append([]byte{whole[60] ^ 4}, whole[61:]...)...),
	} {
		s.must(os.WriteFile(path, damaged, 0o600))
		began := time.Now()
		out, err := a.runAgent(t.Context(), a.args()...)
		t.Logf("%s: refused after %s", name, time.Since(began))
		if err == nil || !strings.Contains(out, "damaged") || !strings.Contains(out, "mv "+path) {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
	// That of a newer version is whole, and not to be moved away.
	s.must(os.WriteFile(path, append([]byte("selvage-identity/9\n"), whole...), 0o600))
	out, err := a.runAgent(t.Context(), a.args()...)
	if err == nil || strings.Contains(out, "damaged") || !strings.Contains(out, "Run that version on this machine again") {
		t.Errorf("of a newer version: %v: %s", err, out)
	}
	s.must(os.WriteFile(path, whole, 0o600))
	a.start()
	a.awaitServing()
}
