// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// flow is one flow of numbered messages, each of which is answered.
type flow struct {
	rate  int
	stop  string
	grace time.Duration
}

// report is what became of a flow.
type report struct {
	Sent     int `json:"sent"`
	Answered int `json:"answered"`
	// Refused were not even sent: the kernel said no.
	Refused int `json:"refused"`
	// Longest is the longest wait for an answer, in milliseconds.
	Longest int64 `json:"longestMillis"`
	// Who are all that answered.
	Who []string `json:"who"`
}

// run sends until the context or the file says stop, waits for the last
// answers, and prints the report. With TCP it is one connection, and its end is
// an error.
func (f *flow) run(ctx context.Context, network, address string, out io.Writer) error {
	conn, err := dial(ctx, network, address, defaultPatience)
	if err != nil {
		return err
	}
	defer conn.Close()
	fmt.Fprintln(out, "flowing")
	answers := make(chan string, 1024)
	go receive(network, conn, answers)
	r := f.exchange(ctx, network, conn, answers)
	if f.stop != "" && ctx.Err() == nil {
		if err := awaitTeller(f.stop); err != nil {
			return err
		}
	}
	return json.NewEncoder(out).Encode(r)
}

// tell makes the file that ends a flow, locked for as long as this process
// lives, unless what it returns is closed: a flow is the first process of its
// container, with which the kernel kills all others that are left.
func tell(path string) (fd int, err error) {
	fd, err = unix.Open(path+".new", unix.O_CREAT|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fd, fmt.Errorf("making %s: %w", path, err)
	}
	if err := unix.Flock(fd, unix.LOCK_EX); err != nil {
		return fd, fmt.Errorf("locking %s: %w", path, err)
	}
	return fd, os.Rename(path+".new", path)
}

// awaitTeller waits until the process that told the end has ended itself.
func awaitTeller(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	return unix.Flock(int(file.Fd()), unix.LOCK_SH)
}

func (f *flow) exchange(ctx context.Context, network string, conn net.Conn, answers <-chan string) report {
	var r report
	open := map[int]time.Time{}
	tick := time.NewTicker(time.Second / time.Duration(f.rate))
	defer tick.Stop()
	stopped := ctx.Done()
	var last <-chan time.Time // once set, nothing more is sent
	for {
		if last != nil && len(open) == 0 {
			return r
		}
		select {
		case <-stopped:
			stopped, last = nil, time.After(f.grace)
		case <-last:
			return r
		case answer, ok := <-answers:
			if !ok {
				return r
			}
			r.take(answer, open)
		case now := <-tick.C:
			if last != nil {
				continue
			}
			if f.stop != "" {
				if _, err := os.Stat(f.stop); err == nil {
					stopped, last = nil, time.After(f.grace)
					continue
				}
			}
			if _, err := fmt.Fprintf(conn, "%d%s", r.Sent, ending(network)); err != nil {
				r.Refused++
			}
			open[r.Sent] = now
			r.Sent++
		}
	}
}

// take notes an answer: NAME ASKER NUMBER.
func (r *report) take(answer string, open map[int]time.Time) {
	words := strings.Fields(answer)
	if len(words) != 3 {
		return
	}
	number, err := strconv.Atoi(words[2])
	sent, waited := open[number]
	if err != nil || !waited {
		return
	}
	delete(open, number)
	r.Answered++
	r.Longest = max(r.Longest, time.Since(sent).Milliseconds())
	if len(r.Who) == 0 || r.Who[len(r.Who)-1] != words[0] {
		r.Who = append(r.Who, words[0])
	}
}

func receive(network string, conn net.Conn, answers chan<- string) {
	defer close(answers)
	from := bufio.NewReaderSize(conn, largest)
	for {
		answer, err := read(network, from)
		if err == nil {
			answers <- answer
			continue
		}
		// A connected UDP socket reports that a port was closed for a moment.
		if network == "tcp" || strings.Contains(err.Error(), "closed network connection") {
			return
		}
	}
}

func ending(network string) string {
	if network == "tcp" {
		return "\n"
	}
	return ""
}
