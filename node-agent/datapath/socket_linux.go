// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// A socket is an rtnetlink socket in the network namespace in which it was
// opened. One goroutine uses it at a time.
type socket struct {
	fd  int
	seq uint32
	buf []byte
}

const (
	// batch is how many messages go in one system call: their answers must fit
	// the socket's receive buffer.
	batch = 64
	// receiveSize fits the largest datagram that the kernel sends in a dump.
	receiveSize = 64 << 10
)

// openSocket opens one in the calling thread's network namespace.
func openSocket() (*socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("opening a netlink socket: %w", err)
	}
	// Texts with errors are a convenience of newer kernels.
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 1)
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
	return &socket{fd: fd}, nil
}

func (s *socket) close() { _ = unix.Close(s.fd) }

// kernelError is the kernel's refusal of one message, in its words.
type kernelError struct {
	errno unix.Errno
	text  string
}

func (e *kernelError) Error() string {
	if e.text == "" {
		return e.errno.Error()
	}
	return fmt.Sprintf("%s (%s)", e.errno.Error(), e.text)
}

func (e *kernelError) Unwrap() error { return e.errno }

// failure names the message of a batch that failed.
type failure struct {
	index int
	err   error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// send has the kernel carry out messages in order. It carries out all of them,
// whatever becomes of the ones before: do not put into one call what must not
// happen without the other. The first error is returned as a *failure.
func (s *socket) send(messages ...*message) error {
	failures, err := s.sendAll(messages)
	if err != nil {
		return err
	}
	if len(failures) > 0 {
		return failures[0]
	}
	return nil
}

// sendAll is send for those who want to know each failure.
func (s *socket) sendAll(messages []*message) ([]*failure, error) {
	var failures []*failure
	for start := 0; start < len(messages); start += batch {
		part := messages[start:min(start+batch, len(messages))]
		got, err := s.sendBatch(part)
		if err != nil {
			return failures, err
		}
		for _, f := range got {
			f.index += start
			failures = append(failures, f)
		}
	}
	return failures, nil
}

func (s *socket) sendBatch(messages []*message) ([]*failure, error) {
	first := s.seq + 1
	s.buf = s.buf[:0]
	for i, m := range messages {
		s.seq++
		if i == len(messages)-1 { // its answer says that all are done
			m.setFlags(unix.NLM_F_ACK)
		}
		m.seal(s.seq)
		s.buf = append(s.buf, m.buf...)
	}
	if err := s.write(s.buf); err != nil {
		return nil, err
	}
	var failures []*failure
	for done := false; !done; {
		err := s.receive(func(h unix.NlMsghdr, body []byte) {
			if h.Type != unix.NLMSG_ERROR || h.Seq-first >= uint32(len(messages)) {
				return
			}
			at := int(h.Seq - first)
			done = done || at == len(messages)-1
			if e := parseError(h, body); e != nil && e.errno != messages[at].want {
				failures = append(failures, &failure{index: at, err: e})
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return failures, nil
}

// dump asks for many objects and returns their bodies, as they were together at
// one moment: a dump during which the table changed is made again.
func (s *socket) dump(m *message) ([][]byte, error) {
	for range dumpTries {
		bodies, interrupted, err := s.dumpOnce(m)
		if err != nil || !interrupted {
			return bodies, err
		}
	}
	return nil, fmt.Errorf("the kernel's tables change too fast to be read: %d dumps were interrupted", dumpTries)
}

const dumpTries = 100

func (s *socket) dumpOnce(m *message) (bodies [][]byte, interrupted bool, err error) {
	s.seq++
	m.setFlags(unix.NLM_F_DUMP)
	m.seal(s.seq)
	if err := s.write(m.buf); err != nil {
		return nil, false, err
	}
	var failed *kernelError
	for done := false; !done; {
		err := s.receive(func(h unix.NlMsghdr, body []byte) {
			if h.Seq != s.seq {
				return
			}
			interrupted = interrupted || h.Flags&unix.NLM_F_DUMP_INTR != 0
			switch h.Type {
			case unix.NLMSG_DONE, unix.NLMSG_ERROR:
				done = true
				failed = parseError(h, body)
			default:
				bodies = append(bodies, append([]byte(nil), body...))
			}
		})
		if err != nil {
			return nil, false, err
		}
	}
	if failed != nil {
		return nil, false, failed
	}
	return bodies, interrupted, nil
}

// get asks for one object; nil if there is none.
func (s *socket) get(m *message) ([]byte, error) {
	s.seq++
	m.seal(s.seq)
	if err := s.write(m.buf); err != nil {
		return nil, err
	}
	var answer []byte
	var failed *kernelError
	for done := false; !done; {
		err := s.receive(func(h unix.NlMsghdr, body []byte) {
			if h.Seq != s.seq {
				return
			}
			done = true
			if h.Type == unix.NLMSG_ERROR {
				failed = parseError(h, body)
				return
			}
			answer = append(answer, body...)
		})
		if err != nil {
			return nil, err
		}
	}
	if failed != nil && (failed.errno == unix.ENODEV || failed.errno == unix.ENOENT) {
		return nil, nil
	}
	if failed != nil {
		return nil, failed
	}
	return answer, nil
}

func (s *socket) write(b []byte) error {
	err := retry(func() error { return unix.Sendto(s.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}) })
	if err != nil {
		return fmt.Errorf("sending to the kernel: %w", err)
	}
	return nil
}

// receive reads one datagram and calls f for each message in it.
func (s *socket) receive(f func(h unix.NlMsghdr, body []byte)) error {
	if cap(s.buf) < receiveSize {
		s.buf = make([]byte, 0, receiveSize)
	}
	b := s.buf[:receiveSize]
	var n int
	err := retry(func() (err error) {
		n, _, err = unix.Recvfrom(s.fd, b, 0)
		return err
	})
	if err != nil {
		return fmt.Errorf("receiving from the kernel: %w", err)
	}
	return eachMessage(b[:n], f)
}

var errTruncated = errors.New("the kernel sent a message that is cut short")

// eachMessage splits a datagram into messages.
func eachMessage(b []byte, f func(h unix.NlMsghdr, body []byte)) error {
	for len(b) >= unix.NLMSG_HDRLEN {
		h := unix.NlMsghdr{
			Len: native.Uint32(b), Type: native.Uint16(b[4:]), Flags: native.Uint16(b[6:]),
			Seq: native.Uint32(b[8:]), Pid: native.Uint32(b[12:]),
		}
		n := int(h.Len)
		if n < unix.NLMSG_HDRLEN || n > len(b) {
			return errTruncated
		}
		f(h, b[unix.NLMSG_HDRLEN:n])
		b = b[min(len(b), (n+unix.NLMSG_ALIGNTO-1)&^(unix.NLMSG_ALIGNTO-1)):]
	}
	return nil
}

// parseError reads an answer's error; nil is success.
func parseError(h unix.NlMsghdr, body []byte) *kernelError {
	if len(body) < 4 {
		return nil
	}
	errno := unix.Errno(-int32(native.Uint32(body)))
	if errno == 0 {
		return nil
	}
	e := &kernelError{errno: errno}
	const acked = 4 + unix.NLMSG_HDRLEN // with NETLINK_CAP_ACK only the request's header is echoed
	if h.Flags&unix.NLM_F_ACK_TLVS != 0 && len(body) >= acked {
		attributes(body[acked:], func(typ uint16, value []byte) {
			if typ == unix.NLMSGERR_ATTR_MSG {
				e.text = textOf(value)
			}
		})
	}
	return e
}

// textOf reads a string that ends with a zero byte.
func textOf(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}

// retry repeats a system call that a signal interrupted.
func retry(f func() error) error {
	for {
		if err := f(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
