// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"io"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cli-runtime/pkg/printers"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/cmd/kubectl-selvage/removal"
)

// progress writes the steps of a wait. On a terminal the line that is being
// waited on is written over; elsewhere each piece of news is a line.
type progress struct {
	out      io.Writer
	terminal bool
	last     string
	open     bool
	spoke    bool
}

func (p *progress) say(step removal.Step) {
	text := printers.EscapeTerminal(step.Text)
	key := step.Key
	if key == "" {
		key = text
	}
	if p.terminal && step.Fleeting {
		_, _ = fmt.Fprintf(p.out, "\r\x1b[K%s", text)
		p.open, p.spoke, p.last = true, true, key
		return
	}
	if key == p.last {
		return
	}
	p.end()
	_, _ = fmt.Fprintln(p.out, text)
	p.spoke, p.last = true, key
}

// end closes a line that is being written over.
func (p *progress) end() {
	if p.open {
		_, _ = fmt.Fprintln(p.out)
		p.open = false
	}
}

// operator acts on the cluster, and tells its steps: to standard output, or, if
// that is for a document, to standard error.
func (s *session) operator(document bool) (*removal.Operator, *progress, error) {
	c, err := s.client()
	if err != nil {
		return nil, nil, err
	}
	say := &progress{out: s.Out}
	if document {
		say.out = s.ErrOut
	}
	say.terminal = printers.IsTerminal(say.out)
	return &removal.Operator{Client: c, Namespace: s.namespace(), Poll: pollInterval, Now: time.Now, Say: say.say}, say, nil
}

func keyOf(obj client.Object) types.NamespacedName { return client.ObjectKeyFromObject(obj) }
