// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

// Package wire is how the CNI plugin and the agent talk: one request and one
// reply on a unix socket, each a frame of a magic, a length and a body.
//
// The plugin's start is part of every pod's start, so this package imports
// nothing that costs at start-up, and no serialisation library.
package wire

const (
	// DefaultRunDir holds the socket and the sign of life.
	DefaultRunDir = "/run/selvage"
	// RunDirEnv names another directory, in the environment of the runtime.
	RunDirEnv = "SELVAGE_RUN_DIR"
	// Socket is the agent's socket in the run directory.
	Socket = "cni.sock"
	// Alive is a file there that a living agent touches.
	Alive = "alive"
	// AliveSeconds is how long an agent may be away before STATUS says so: an
	// error there takes the node's pods out of Services.
	AliveSeconds = 60

	// HeaderSize is that of a frame's magic and length.
	HeaderSize = 8
	// MaxBody bounds a frame. A configuration with the result of a chain of
	// plugins is a few kilobytes; one that lists the valid attachments of a
	// full node is some hundred.
	MaxBody = 4 << 20

	magic = "SLV1"
	// fields is the number of strings of a request.
	fields = 6
)

// SupportedVersions are those of the CNI specification, as JSON.
const SupportedVersions = `["0.3.0","0.3.1","0.4.0","1.0.0","1.1.0"]`

// Request is one call of the plugin: its environment and standard input.
type Request struct {
	Command, ContainerID, NetNS, IfName, Args string
	// Stdin is the network configuration; it may share memory with the frame.
	Stdin []byte
}

// Reply is what the plugin prints and exits with.
type Reply struct {
	Exit   byte
	Stdout []byte
}

// Error says what is wrong with a frame.
type Error string

func (e Error) Error() string { return string(e) }

// The ways in which a frame is wrong.
const (
	ErrMagic  Error = "this is not a frame of the Selvage CNI plugin: it does not begin with " + magic + " (is the plugin of another version?)"
	ErrLarge  Error = "the frame is longer than 4 MiB"
	ErrBroken Error = "the frame's fields do not fill it exactly"
)

// BodySize reads a frame's header.
func BodySize(header [HeaderSize]byte) (int, error) {
	if string(header[:len(magic)]) != magic {
		return 0, ErrMagic
	}
	n := get(header[len(magic):])
	if n > MaxBody {
		return 0, ErrLarge
	}
	return int(n), nil
}

// AppendRequest appends the frame of a request.
func AppendRequest(dst []byte, r *Request) ([]byte, error) {
	strings := [fields - 1]string{r.Command, r.ContainerID, r.NetNS, r.IfName, r.Args}
	size := 4*fields + len(r.Stdin)
	for _, s := range strings {
		size += len(s)
	}
	if size > MaxBody {
		return dst, ErrLarge
	}
	dst = put(append(dst, magic...), uint32(size))
	for _, s := range strings {
		dst = append(put(dst, uint32(len(s))), s...)
	}
	return append(put(dst, uint32(len(r.Stdin))), r.Stdin...), nil
}

// ParseRequest reads the body of a request.
func ParseRequest(body []byte) (r Request, err error) {
	var part [fields][]byte
	for i := range part {
		if len(body) < 4 {
			return r, ErrBroken
		}
		n := get(body)
		if body = body[4:]; uint64(n) > uint64(len(body)) {
			return r, ErrBroken
		}
		part[i], body = body[:n], body[n:]
	}
	if len(body) != 0 {
		return r, ErrBroken
	}
	return Request{
		Command: string(part[0]), ContainerID: string(part[1]), NetNS: string(part[2]),
		IfName: string(part[3]), Args: string(part[4]), Stdin: part[5],
	}, nil
}

// AppendReply appends the frame of a reply.
func AppendReply(dst []byte, r Reply) ([]byte, error) {
	if 1+len(r.Stdout) > MaxBody {
		return dst, ErrLarge
	}
	dst = put(append(dst, magic...), uint32(1+len(r.Stdout)))
	return append(append(dst, r.Exit), r.Stdout...), nil
}

// ParseReply reads the body of a reply.
func ParseReply(body []byte) (Reply, error) {
	if len(body) == 0 {
		return Reply{}, ErrBroken
	}
	return Reply{Exit: body[0], Stdout: body[1:]}, nil
}

func put(dst []byte, n uint32) []byte {
	return append(dst, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
}

func get(b []byte) uint32 {
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}
