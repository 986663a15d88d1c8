// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// The alias of a host link is the record of what its pod holds:
//
//	selvage/1 10.32.0.5,fd00:10::5 NETWORK SANDBOX IFNAME NAMESPACE/NAME
//
// It is written before the first route exists, so that nothing can be reached
// that is not on record.
const (
	aliasMagic = "selvage/1"
	// maxAlias is the kernel's limit.
	maxAlias = 255
)

// formatAlias writes the record. The pod's name is cut to what fits; all else
// must fit.
func formatAlias(a Attachment) (string, error) {
	if err := validAddresses(a.Addresses); err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString(aliasMagic)
	for i, addr := range a.Addresses {
		b.WriteByte(" ,"[min(i, 1)])
		b.WriteString(addr.String())
	}
	for _, field := range []struct{ name, value string }{{"network", a.Network}, {"sandbox", a.Sandbox}, {"interface name", a.IfName}} {
		if field.value == "" {
			return "", fmt.Errorf("attachment without a %s", field.name)
		}
		b.WriteByte(' ')
		b.WriteString(escape(field.value))
	}
	if b.Len() > maxAlias {
		return "", fmt.Errorf("network %q, sandbox %q and interface %q do not fit the %d bytes of a link's alias: use a shorter network name",
			a.Network, a.Sandbox, a.IfName, maxAlias)
	}
	pod := escape(a.Pod)
	if room := maxAlias - b.Len() - 1; len(pod) > room {
		pod = cutEscaped(pod, max(room, 0))
	}
	if pod != "" {
		b.WriteByte(' ')
		b.WriteString(pod)
	}
	return b.String(), nil
}

// parseAlias reads what formatAlias wrote; anything else is not ours.
func parseAlias(s string) (Attachment, error) {
	fields := strings.Split(s, " ")
	if len(s) > maxAlias || fields[0] != aliasMagic || len(fields) < 5 || len(fields) > 6 {
		return Attachment{}, fmt.Errorf("alias %q is not a record of ours", s)
	}
	var a Attachment
	for _, text := range strings.Split(fields[1], ",") {
		addr, err := netip.ParseAddr(text)
		if err != nil || addr.String() != text {
			return Attachment{}, fmt.Errorf("alias %q: %q is not an address", s, text)
		}
		a.Addresses = append(a.Addresses, addr)
	}
	if err := validAddresses(a.Addresses); err != nil {
		return Attachment{}, fmt.Errorf("alias %q: %w", s, err)
	}
	for i, to := range []*string{&a.Network, &a.Sandbox, &a.IfName, &a.Pod} {
		if 2+i >= len(fields) {
			break
		}
		text, err := unescape(fields[2+i])
		if err != nil || text == "" {
			return Attachment{}, fmt.Errorf("alias %q: field %d cannot be read", s, 3+i)
		}
		*to = text
	}
	return a, nil
}

// plain says whether a byte stands for itself in a record.
func plain(c byte) bool { return c > ' ' && c < 0x7f && c != '%' }

// escape keeps a field free of spaces and unprintable bytes.
func escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if plain(s[i]) {
			b.WriteByte(s[i])
		} else {
			fmt.Fprintf(&b, "%%%02x", s[i])
		}
	}
	return b.String()
}

// unescape is the inverse of escape, and refuses what escape does not write.
func unescape(s string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if plain(s[i]) {
			b.WriteByte(s[i])
			continue
		}
		if s[i] != '%' || i+3 > len(s) {
			return "", fmt.Errorf("%q is not escaped text", s)
		}
		c, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil || plain(byte(c)) || s[i+1:i+3] != fmt.Sprintf("%02x", c) {
			return "", fmt.Errorf("%q is not escaped text", s)
		}
		b.WriteByte(byte(c))
		i += 2
	}
	return b.String(), nil
}

// cutEscaped shortens escaped text to n bytes without breaking an escape.
func cutEscaped(s string, n int) string {
	s = s[:n]
	if i := strings.LastIndexByte(s, '%'); i >= 0 && i > n-3 {
		s = s[:i]
	}
	return s
}
