// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package history

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// verb is what an operation does to the register of one address.
type verb int

const (
	acquire verb = iota
	mayAcquire
	release
	lose
	hear
)

var verbs = [...]string{"ADD", "ADD (unknown outcome)", "DEL", "range lost by", "heard"}

// input is one operation. Pod is who acquires, releases or is heard; Host is
// its machine, or the one whose peer loses the range.
type input struct {
	verb      verb
	pod, host string
	by        string
}

// holder is the register's value: the pod that has the address in the reachable
// network, and its machine. The zero holder is nobody.
type holder struct{ pod, host string }

// model is the register of one address, as Herlihy and Wing's linearizability
// wants it: a sequential object of which each operation takes effect at one
// moment within its span. https://doi.org/10.1145/78969.78972
var model = (&porcupine.NondeterministicModel{
	Init: func() []any { return []any{holder{}} },
	Step: func(state, in, _ any) []any {
		now, op := state.(holder), in.(input)
		switch op.verb {
		case acquire:
			if now != (holder{}) {
				return nil
			}
			return []any{holder{op.pod, op.host}}
		case mayAcquire:
			if now != (holder{}) {
				return []any{now}
			}
			return []any{now, holder{op.pod, op.host}}
		case release:
			if now.pod == op.pod {
				return []any{holder{}}
			}
		case lose:
			if now.host == op.host {
				return []any{holder{}}
			}
		case hear:
			if now.pod != op.pod {
				return nil
			}
		}
		return []any{now}
	},
	DescribeOperation: func(in, _ any) string { return in.(input).String() },
}).ToModel()

func (i input) String() string {
	switch i.verb {
	case lose:
		return fmt.Sprintf("%s %s", verbs[i.verb], i.host)
	case hear:
		return fmt.Sprintf("%s heard by %s", i.pod, i.by)
	default:
		return fmt.Sprintf("%s %s on %s", verbs[i.verb], i.pod, i.host)
	}
}

// Violation is an address whose history no register could have.
type Violation struct {
	Address netip.Addr
	// Undecided: the judge ran out of time, which proves nothing.
	Undecided bool
	// Story are the operations, in the order of their beginning.
	Story []string
	// Info is what porcupine found, for porcupine.VisualizePath.
	Info porcupine.LinearizationInfo
}

// Model is what Info is to be shown with.
func Model() porcupine.Model { return model }

// Judge checks the history of each address. The result is sorted by address.
func Judge(ctx context.Context, holdings []Holding, heard []Heard, losses []Loss, limit time.Duration) []Violation {
	var found []Violation
	stories := operations(holdings, heard, losses)
	addresses := make([]netip.Addr, 0, len(stories))
	for a := range stories {
		addresses = append(addresses, a)
	}
	slices.SortFunc(addresses, netip.Addr.Compare)
	for _, a := range addresses {
		if ctx.Err() != nil {
			return append(found, Violation{Address: a, Undecided: true, Story: []string{"the judge was interrupted"}})
		}
		result, info := porcupine.CheckOperationsVerbose(model, stories[a], limit)
		if result != porcupine.Ok {
			found = append(found, Violation{Address: a, Undecided: result == porcupine.Unknown, Story: tell(stories[a]), Info: info})
		}
	}
	return found
}

// operations sorts the history by address.
func operations(holdings []Holding, heard []Heard, losses []Loss) map[netip.Addr][]porcupine.Operation {
	all := map[netip.Addr][]porcupine.Operation{}
	put := func(a netip.Addr, in input, s Span) {
		all[a] = append(all[a], porcupine.Operation{ClientId: len(all[a]), Input: in, Call: int64(s.Call), Return: int64(s.Return)})
	}
	for _, h := range holdings {
		released := h.Released != (Span{})
		added, how := h.Added, acquire
		if !h.Sure {
			// It may take effect late, but not after its interface is gone.
			how, added.Return = mayAcquire, Never
			if released {
				added.Return = h.Released.Return
			}
		}
		put(h.Address, input{verb: how, pod: h.Pod, host: h.Host}, added)
		if released {
			put(h.Address, input{verb: release, pod: h.Pod, host: h.Host}, h.Released)
		}
	}
	for _, h := range heard {
		if h.By == h.Pod {
			continue // its own voice reaches it on its loopback, by no network
		}
		put(h.Address, input{verb: hear, pod: h.Pod, by: h.By}, h.Span)
	}
	for a := range all {
		for _, l := range losses {
			if l.covers(a) {
				put(a, input{verb: lose, host: l.Host}, l.Span)
			}
		}
	}
	return all
}

func tell(ops []porcupine.Operation) []string {
	sorted := slices.Clone(ops)
	slices.SortStableFunc(sorted, func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) })
	story := make([]string, 0, len(sorted))
	for _, op := range sorted {
		until := "?"
		if time.Duration(op.Return) != Never {
			until = fmt.Sprintf("%.3f", time.Duration(op.Return).Seconds())
		}
		story = append(story, fmt.Sprintf("[%.3f, %s] %s", time.Duration(op.Call).Seconds(), until, op.Input.(input)))
	}
	return story
}
