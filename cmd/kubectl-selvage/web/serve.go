// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package web

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// leaveWithin is how long browsers have to go when the program ends.
const leaveWithin = 2 * time.Second

// Serve serves the page on a port of 127.0.0.1, any if it is 0, and calls ready
// with its address, until ctx ends.
func Serve(ctx context.Context, feed *Feed, port int, ready func(url string)) error {
	var listening net.ListenConfig
	l, err := listening.Listen(ctx, "tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return fmt.Errorf("%w: choose another --port, or leave it out", err)
	}
	token := rand.Text()
	var running sync.WaitGroup
	defer running.Wait()
	going, end := context.WithCancel(ctx)
	defer end()
	running.Go(func() { feed.Run(going) })
	server := &http.Server{
		Handler: Handler(feed, token), ReadHeaderTimeout: 10 * time.Second,
		BaseContext: func(net.Listener) context.Context { return going },
	}
	running.Go(func() {
		<-going.Done()
		// Who listens is told, and then cut off.
		leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveWithin)
		defer cancel()
		if server.Shutdown(leaving) != nil {
			server.Close()
		}
	})
	ready(fmt.Sprintf("http://%s/%s/", l.Addr(), token))
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
