// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package witness

import (
	"net/netip"
	"testing"
	"time"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func at(seconds int) time.Time { return epoch.Add(time.Duration(seconds) * time.Second) }

func stay(addr, node string, inode uint64, from, to int) Stay {
	return Stay{Addr: netip.MustParseAddr(addr), Holder: Holder{Node: node, Boot: "b", Inode: inode}, FirstEnd: at(from), LastBegin: at(to)}
}

func TestJudge(t *testing.T) {
	for _, test := range []struct {
		name     string
		stays    []Stay
		silences []Silence
		want     int
	}{
		{"nothing", nil, nil, 0},
		{"one after the other", []Stay{stay("10.0.0.1", "a", 1, 0, 5), stay("10.0.0.1", "b", 2, 5, 9)}, nil, 0},
		{"at the same time", []Stay{stay("10.0.0.1", "a", 1, 0, 5), stay("10.0.0.1", "b", 2, 4, 9)}, nil, 1},
		{"on one node", []Stay{stay("10.0.0.1", "a", 1, 0, 5), stay("10.0.0.1", "a", 2, 4, 9)}, nil, 1},
		{"one inside the other", []Stay{stay("10.0.0.1", "a", 1, 0, 9), stay("10.0.0.1", "b", 2, 4, 5)}, nil, 1},
		{"not its neighbour in time", []Stay{stay("10.0.0.1", "a", 1, 0, 9), stay("10.0.0.1", "a", 1, 1, 2), stay("10.0.0.1", "b", 2, 4, 5)}, nil, 1},
		{"other addresses", []Stay{stay("10.0.0.1", "a", 1, 0, 5), stay("10.0.0.2", "b", 2, 0, 5)}, nil, 0},
		{"the holder itself", []Stay{stay("10.0.0.1", "a", 1, 0, 5), stay("10.0.0.1", "a", 1, 2, 7)}, nil, 0},
		{"seen once only", []Stay{stay("10.0.0.1", "a", 1, 0, 9), stay("10.0.0.1", "b", 2, 5, 4)}, nil, 0},
		{
			"while its node is cut off", []Stay{stay("10.0.0.1", "a", 1, 0, 9), stay("10.0.0.1", "b", 2, 4, 20)},
			[]Silence{{"a", at(3), at(10)}}, 0,
		},
		{
			"longer than its node is cut off", []Stay{stay("10.0.0.1", "a", 1, 0, 12), stay("10.0.0.1", "b", 2, 4, 20)},
			[]Silence{{"a", at(3), at(10)}}, 1,
		},
		{
			"before its node is cut off", []Stay{stay("10.0.0.1", "a", 1, 0, 12), stay("10.0.0.1", "b", 2, 2, 20)},
			[]Silence{{"a", at(3), at(30)}}, 1,
		},
		{
			"while another node is cut off", []Stay{stay("10.0.0.1", "a", 1, 0, 9), stay("10.0.0.1", "b", 2, 4, 20)},
			[]Silence{{"c", at(3), at(10)}}, 1,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := Judge(test.stays, test.silences); len(got) != test.want {
				t.Errorf("%d, not %d: %v", len(got), test.want, got)
			}
		})
	}
}

func answer(who string, sent, heard int) Answer {
	return Answer{Addr: netip.MustParseAddr("10.0.0.1"), Who: who, Sent: at(sent), Heard: at(heard)}
}

func TestJudgeAnswers(t *testing.T) {
	for _, test := range []struct {
		name    string
		answers []Answer
		want    int
	}{
		{"one", []Answer{answer("a", 0, 1), answer("a", 2, 3)}, 0},
		{"handed on", []Answer{answer("a", 0, 1), answer("b", 2, 3), answer("b", 4, 5)}, 0},
		{"back again", []Answer{answer("a", 0, 1), answer("b", 2, 3), answer("a", 4, 5)}, 1},
		{"in no order", []Answer{answer("a", 0, 2), answer("b", 1, 3), answer("a", 2, 4)}, 0},
		{"back again after a third", []Answer{answer("a", 0, 1), answer("b", 2, 3), answer("c", 4, 5), answer("a", 6, 7)}, 1},
		{"a late answer does not hide it", []Answer{answer("a", 0, 1), answer("b", 2, 3), answer("c", 3, 9), answer("a", 4, 5)}, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := JudgeAnswers(test.answers); len(got) != test.want {
				t.Errorf("%d, not %d: %v", len(got), test.want, got)
			}
		})
	}
}
