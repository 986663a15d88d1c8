// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package world

import (
	"fmt"
	"os"
	"sync"
	"time"
)

// Journal is what was done and seen, a line each, with the time.
type Journal struct {
	mu   sync.Mutex
	file *os.File
	now  func() time.Duration
}

func newJournal(path string, now func() time.Duration) (*Journal, error) {
	file, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("making the journal: %w", err)
	}
	return &Journal{file: file, now: now}, nil
}

// Say writes a line. What cannot be written is lost: the journal decides
// nothing.
func (j *Journal) Say(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	fmt.Fprintf(j.file, "%10.3f %s\n", j.now().Seconds(), fmt.Sprintf(format, args...))
}

func (j *Journal) close() { j.file.Close() }
