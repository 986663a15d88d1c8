// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/selvage-net/selvage/controllers/ownership"
)

// Script plays a conversation: lines that begin with "> " are said to the
// cluster, the lines below each are its answer. See testdata.
type Script struct {
	World *World
	// events is how many have been shown.
	events int
}

// NewScript is an empty cluster with one controller.
func NewScript() *Script {
	w := NewWorld(time.Minute)
	w.AddController(ownership.Config{GracePeriod: time.Minute, MaxRemovals: 0.2})
	return &Script{World: w}
}

// Play plays a whole conversation and returns it with the answers that came.
func (s *Script) Play(conversation string) string {
	var out strings.Builder
	said := true
	for line := range strings.Lines(conversation) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, "> "):
			said = true
			out.WriteString(line + "\n")
			answer, err := s.Say(strings.TrimPrefix(line, "> "))
			if err != nil {
				answer = append(answer, "error: "+err.Error())
			}
			for _, a := range answer {
				out.WriteString(a + "\n")
			}
		case line == "" || strings.HasPrefix(line, "#"):
			out.WriteString(line + "\n")
		case !said:
			out.WriteString(line + "\n")
		}
	}
	return out.String()
}

// Say does one thing.
func (s *Script) Say(line string) ([]string, error) {
	words := strings.Fields(line)
	if len(words) == 0 {
		return nil, fmt.Errorf("say something")
	}
	if h := s.World.Host(words[0]); h != nil {
		return s.host(h, words[1:])
	}
	verbs := map[string]func([]string) ([]string, error){
		"pool": s.pool, "host": s.addHost, "run": s.run, "remove": s.remove, "cancel": s.cancel,
		"show": s.show, "node": s.node, "controllers": s.controllers, "release": s.release, "forget": s.forget,
	}
	verb, ok := verbs[words[0]]
	if !ok {
		return nil, fmt.Errorf("%q is neither a host nor a command", words[0])
	}
	return verb(words[1:])
}

func (s *Script) pool(words []string) ([]string, error) {
	if len(words) != 4 {
		return nil, fmt.Errorf("pool NAME CIDR FIRST MAX")
	}
	cidr, err := netip.ParsePrefix(words[1])
	if err != nil || cidr != cidr.Masked() {
		return nil, fmt.Errorf("%q is not a canonical CIDR", words[1])
	}
	p := ownership.Pool{CIDR: cidr}
	p.Name = words[0]
	first, err1 := strconv.Atoi(words[2])
	largest, err2 := strconv.Atoi(words[3])
	if err1 != nil || err2 != nil || cidr.Bits() > largest || largest > first || first > cidr.Addr().BitLen() {
		return nil, fmt.Errorf("prefix lengths must satisfy %d <= MAX <= FIRST <= %d", cidr.Bits(), cidr.Addr().BitLen())
	}
	if _, ok := s.World.Store.pools[p.Name]; ok {
		return nil, ErrExists
	}
	p.First, p.Max = first, largest
	s.World.Store.AddPool(p)
	return nil, nil
}

func (s *Script) addHost(words []string) ([]string, error) {
	if len(words) == 0 || s.World.Host(words[0]) != nil || len(s.World.Hosts) > 200 {
		return nil, fmt.Errorf("host NAME [headroom N], a name that is not taken")
	}
	h := s.World.AddHost(words[0])
	if len(words) == 3 && words[1] == "headroom" {
		n, err := strconv.ParseInt(words[2], 10, 64)
		if err != nil {
			return nil, err
		}
		h.Headroom = n
	}
	s.World.StartAgent(h)
	return nil, nil
}

func (s *Script) run(words []string) ([]string, error) {
	if len(words) != 1 {
		return nil, fmt.Errorf("run DURATION")
	}
	t, err := time.ParseDuration(words[0])
	if err != nil {
		return nil, err
	}
	if t < 0 || t > time.Hour {
		return nil, fmt.Errorf("at most an hour")
	}
	s.World.Run(t)
	return s.violations(), nil
}

func (s *Script) violations() (out []string) {
	for _, v := range s.World.Violations {
		out = append(out, "BROKEN "+v.String())
	}
	return out
}

func (s *Script) remove(words []string) ([]string, error) {
	if len(words) == 0 {
		return nil, fmt.Errorf("remove NAME [heir NAME] [assertDown] [instance ID]")
	}
	d := ownership.Declaration{}
	d.Name = words[0]
	for i := 1; i < len(words); i++ {
		switch {
		case words[i] == "assertDown":
			d.AssertDown = true
		case words[i] == "heir" && i+1 < len(words):
			i++
			d.Heir = words[i]
		case words[i] == "instance" && i+1 < len(words):
			i++
			d.InstanceID = words[i]
		default:
			return nil, fmt.Errorf("what is %q?", words[i])
		}
	}
	if d.AssertDown {
		s.World.Lie(d.Name)
	}
	return nil, s.World.Store.Declare(d)
}

func (s *Script) cancel(words []string) ([]string, error) {
	if len(words) != 1 {
		return nil, fmt.Errorf("cancel NAME")
	}
	s.World.Store.Undeclare(words[0])
	return nil, nil
}

// forget takes a Peer away past its finalizer, or a Lease.
func (s *Script) forget(words []string) ([]string, error) {
	if len(words) != 2 || words[0] != "peer" && words[0] != "lease" {
		return nil, fmt.Errorf("forget peer|lease NAME")
	}
	if words[0] == "peer" {
		s.World.Store.StripPeer(words[1])
	} else {
		s.World.Store.DeleteLease(words[1])
	}
	return nil, nil
}

func (s *Script) release(words []string) ([]string, error) {
	if len(words) != 1 {
		return nil, fmt.Errorf("release POOL")
	}
	s.World.Store.ReleaseRemovals(words[0])
	return nil, nil
}

func (s *Script) controllers(words []string) ([]string, error) {
	if len(words) != 1 {
		return nil, fmt.Errorf("controllers N | crash")
	}
	if words[0] == "crash" {
		for _, c := range s.World.Controllers {
			c.Crash()
		}
		return nil, nil
	}
	n, err := strconv.Atoi(words[0])
	if err != nil || n < 1 || n > 9 {
		return nil, fmt.Errorf("from 1 to 9")
	}
	for len(s.World.Controllers) < n {
		s.World.AddController(s.World.Controllers[0].Config)
	}
	s.World.Controllers = s.World.Controllers[:n]
	return nil, nil
}

func (s *Script) node(words []string) ([]string, error) {
	if len(words) != 2 {
		return nil, fmt.Errorf("node NAME deleted|cordoned|uncordoned|out-of-service|in-service|registered")
	}
	st := s.World.Store
	n, ok := st.Node(words[0])
	if !ok && words[1] != "registered" {
		return nil, fmt.Errorf("there is no node %s", words[0])
	}
	switch words[1] {
	case "deleted":
		st.DeleteNode(words[0])
		return nil, nil
	case "registered":
		n = ownership.Node{Name: words[0]}
	case "cordoned", "uncordoned":
		n.Unschedulable = words[1] == "cordoned"
	case "out-of-service", "in-service":
		n.OutOfService = words[1] == "out-of-service"
	default:
		return nil, fmt.Errorf("what is %q?", words[1])
	}
	st.SetNode(n)
	return nil, nil
}

func (s *Script) host(h *Host, words []string) ([]string, error) {
	w := s.World
	switch strings.Join(words, " ") {
	case "crashes":
		w.PowerOff(h)
		h.Silent = true
	case "returns":
		h.On, h.Silent, h.Cut = true, false, false
		w.StartAgent(h)
	case "agent stops":
		w.StopAgent(h)
	case "agent starts":
		w.StartAgent(h)
	case "kubelet dies":
		h.Silent = true
	case "is cut off":
		h.Cut, h.Silent = true, true
	case "is re-imaged":
		w.PowerOff(h)
		h.On, h.instance, h.joined = true, "", ""
		w.StartAgent(h)
	case "leaves":
		h.leaving = true
	case "stays":
		h.leaving = false
	case "pod", "daemon":
		return s.startPod(h, words[0] == "daemon"), nil
	case "drain":
		for _, a := range sortedAddrs(h.pods) {
			if !w.Store.pods[h.pods[a]].Daemon {
				w.Release(h, a)
			}
		}
	case "forgets pods": // the Pod objects go, the containers stay
		for _, uid := range h.pods {
			w.Store.DeletePod(uid)
		}
	default:
		if len(words) == 2 && words[0] == "headroom" {
			n, err := strconv.ParseInt(words[1], 10, 64)
			h.Headroom = n
			return nil, err
		}
		return nil, fmt.Errorf("what is %q?", strings.Join(words, " "))
	}
	return nil, nil
}

// startPod starts a pod; a daemon is one of a DaemonSet, which a drain leaves.
func (s *Script) startPod(h *Host, daemon bool) []string {
	w := s.World
	a, ok := w.Allocate(h)
	if !ok {
		return []string{"no address"}
	}
	w.PostPod(h, a)
	p := w.Store.pods[h.pods[a]]
	p.Daemon = daemon
	w.Store.PutPod(p)
	return []string{a.String()}
}

func (s *Script) show(words []string) ([]string, error) {
	if len(words) != 1 {
		return nil, fmt.Errorf("show ranges|peers|events|waits|removals|check")
	}
	w := s.World
	switch words[0] {
	case "ranges":
		return w.Ownership(), nil
	case "peers":
		return w.Peers(), nil
	case "events":
		var out []string
		for _, e := range w.Events[s.events:] {
			out = append(out, fmt.Sprintf("%s %s %s: %s", e.Kind, e.Name, e.Reason, e.Message))
		}
		s.events = len(w.Events)
		return out, nil
	case "waits":
		var out []string
		waits := w.Waits()
		for _, name := range sortedKeys(waits) {
			out = append(out, name+" "+waits[name])
		}
		return out, nil
	case "removals":
		var out []string
		for _, d := range sorted(w.Store.removals) {
			out = append(out, fmt.Sprintf("%s heir %q done %t", d.Name, d.Heir, d.Done))
		}
		return out, nil
	case "check":
		snap := w.Store.Snapshot()
		out := s.violations()
		for _, v := range append(ownership.Check(&snap), ownership.Unsettled(&snap)...) {
			out = append(out, v.String())
		}
		return append(out, "checked"), nil
	}
	return nil, fmt.Errorf("what is %q?", words[0])
}
