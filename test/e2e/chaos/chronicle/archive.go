// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package chronicle

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Archive keeps every change of Selvage's objects in a file, a line each, so
// that a finding can be looked into later.
type Archive struct {
	file *os.File
	zip  *gzip.Writer
}

// NewArchive makes the file, which gzip reads.
func NewArchive(path string) (*Archive, error) {
	file, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("keeping the changes: %w", err)
	}
	return &Archive{file, gzip.NewWriter(file)}, nil
}

// entry is a line of the archive. Object is absent of what was deleted.
type entry struct {
	Revision int64           `json:"revision"`
	Seconds  float64         `json:"seconds"`
	Key      string          `json:"key"`
	Object   json.RawMessage `json:"object,omitempty"`
}

func (a *Archive) change(e *clientv3.Event, at time.Duration) error {
	key := string(e.Kv.Key)
	if !strings.HasPrefix(key, prefix+group) && !strings.HasPrefix(key, prefix+"leases/") &&
		!strings.HasPrefix(key, prefix+"pods/") && !strings.HasPrefix(key, prefix+"minions/") && !strings.HasPrefix(key, prefix+"events/") {
		return nil
	}
	line := entry{Revision: e.Kv.ModRevision, Seconds: at.Seconds(), Key: key}
	if len(e.Kv.Value) > 0 {
		line.Object = e.Kv.Value
	}
	text, err := json.Marshal(line)
	if err == nil {
		_, err = a.zip.Write(append(text, '\n'))
	}
	if err != nil {
		return fmt.Errorf("keeping the changes: %w", err)
	}
	return nil
}

// Close writes the rest.
func (a *Archive) Close() error {
	if err := a.zip.Close(); err != nil {
		return fmt.Errorf("keeping the changes: %w", err)
	}
	return a.file.Close()
}
