// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package cniserver

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/selvage-net/selvage/node-agent/addresses"
	"github.com/selvage-net/selvage/node-agent/cniserver/wire"
)

// supported are the versions of the specification that are spoken.
var supported = func() (versions []string) {
	if err := json.Unmarshal([]byte(wire.SupportedVersions), &versions); err != nil {
		panic(err) // a constant of ours
	}
	return versions
}()

const newest = "1.1.0"

// IPv6 needs 1280; a veth takes no more than 65535.
const (
	minMTU = 1280
	maxMTU = 65535
)

// netConf is the network configuration, as far as it is looked at. Everything
// else in it is meant for other plugins of the chain.
type netConf struct {
	CNIVersion    string          `json:"cniVersion"`
	Name          string          `json:"name"`
	MTU           int             `json:"mtu"`
	DNS           types.DNS       `json:"dns"`
	IPAM          types.IPAM      `json:"ipam"`
	PrevResult    json.RawMessage `json:"prevResult"`
	RuntimeConfig struct {
		IPs []string `json:"ips"`
	} `json:"runtimeConfig"`
	// ValidAttachments is nil if the field is missing, which must not be taken
	// for "none".
	ValidAttachments *[]types.GCAttachment `json:"cni.dev/valid-attachments"`
}

// request is a call that has been understood.
type request struct {
	command string
	version string
	key     addresses.Key
	netns   string
	pod     string
	want    []netip.Addr
	conf    netConf
}

// parse reads a call. The version is returned as soon as it is known, since it
// is part of an error's answer too.
func parse(w wire.Request) (request, *types.Error) {
	r := request{command: w.Command, version: newest, netns: w.NetNS}
	if len(bytes.TrimSpace(w.Stdin)) == 0 && w.Command == "VERSION" {
		return r, nil
	}
	if err := json.Unmarshal(w.Stdin, &r.conf); err != nil {
		return r, fail(codeDecode, "the network configuration on standard input is not valid JSON of a CNI plugin: %v", err)
	}
	if w.Command == "VERSION" {
		// It answers whatever version is asked in: that is what it is for.
		return r, nil
	}
	if !slices.Contains(supported, r.conf.CNIVersion) {
		return r, fail(codeVersion, "cniVersion %q is not supported: this plugin speaks %s (set cniVersion in the network configuration to one of them)",
			r.conf.CNIVersion, strings.Join(supported, ", "))
	}
	r.version = r.conf.CNIVersion
	if err := r.checkVerb(); err != nil {
		return r, err
	}
	if err := r.checkConf(); err != nil {
		return r, err
	}
	return r, r.checkEnvironment(w)
}

// since is the version that brought a verb.
var since = map[string]string{"CHECK": "0.4.0", "GC": "1.1.0", "STATUS": "1.1.0"}

func (r *request) checkVerb() *types.Error {
	switch r.command {
	case "ADD", "DEL":
		return nil
	case "CHECK", "GC", "STATUS":
		first := since[r.command]
		if slices.Index(supported, r.version) < slices.Index(supported, first) {
			return fail(codeVersion, "%s needs cniVersion %s or later, the network configuration says %s", r.command, first, r.version)
		}
		return nil
	}
	return fail(codeEnvironment, "CNI_COMMAND %q is unknown: it is ADD, DEL, CHECK, GC, STATUS or VERSION", r.command)
}

func (r *request) checkConf() *types.Error {
	if !validID(r.conf.Name) {
		return fail(codeConfig, "the network's name %q must begin with a letter or digit and go on with those, '.', '_' or '-'", r.conf.Name)
	}
	if r.conf.IPAM.Type != "" {
		return fail(codeConfig, "ipam is set to %q, but Selvage assigns the addresses itself: remove ipam from the network configuration", r.conf.IPAM.Type)
	}
	if mtu := r.conf.MTU; mtu != 0 && (mtu < minMTU || mtu > maxMTU) {
		return fail(codeConfig, "mtu is %d: it must be from %d to %d, or left out, which takes the node's", mtu, minMTU, maxMTU)
	}
	for _, text := range r.conf.RuntimeConfig.IPs {
		if err := r.addWant(text); err != nil {
			return fail(codeConfig, "runtimeConfig.ips: %v", err)
		}
	}
	return nil
}

// addWant reads an address that is asked for by name; a prefix length behind
// it is what some runtimes write, and means nothing here.
func (r *request) addWant(text string) error {
	bare, _, cut := strings.Cut(text, "/")
	if cut {
		if _, err := netip.ParsePrefix(text); err != nil {
			return fmt.Errorf("%q is not an address", text)
		}
	}
	a, err := netip.ParseAddr(bare)
	if err != nil || a.Zone() != "" {
		return fmt.Errorf("%q is not an address", text)
	}
	if !slices.Contains(r.want, a.Unmap()) {
		r.want = append(r.want, a.Unmap())
	}
	return nil
}

func (r *request) checkEnvironment(w wire.Request) *types.Error {
	if r.command == "GC" || r.command == "STATUS" {
		return nil
	}
	r.key = addresses.Key{Network: r.conf.Name, Sandbox: w.ContainerID, IfName: w.IfName}
	if !validID(w.ContainerID) {
		return fail(codeEnvironment, "CNI_CONTAINERID %q must begin with a letter or digit and go on with those, '.', '_' or '-'", w.ContainerID)
	}
	if !validIfName(w.IfName) {
		return fail(codeEnvironment, "CNI_IFNAME %q is not an interface name: 1 to 15 characters, no '/', ':' or space", w.IfName)
	}
	if w.NetNS == "" && r.command != "DEL" {
		return fail(codeEnvironment, "CNI_NETNS is empty: %s needs the pod's network namespace", r.command)
	}
	return r.parseArgs(w.Args)
}

// parseArgs reads CNI_ARGS, "K=V;K=V". What is not known is not ours.
func (r *request) parseArgs(args string) *types.Error {
	var namespace, name string
	for pair := range strings.SplitSeq(args, ";") {
		if pair == "" {
			continue
		}
		k, v, ok := strings.Cut(pair, "=")
		if !ok {
			return fail(codeEnvironment, "CNI_ARGS: %q is not of the form KEY=VALUE", pair)
		}
		switch k {
		case "K8S_POD_NAMESPACE":
			namespace = v
		case "K8S_POD_NAME":
			name = v
		case "IP":
			if err := r.addWant(v); err != nil {
				return fail(codeEnvironment, "CNI_ARGS: IP: %v", err)
			}
		}
	}
	if name != "" {
		r.pod = namespace + "/" + name
	}
	return nil
}

// validID is the specification's rule for network names and container ids.
func validID(s string) bool {
	for i := range len(s) {
		c := s[i]
		alnum := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !alnum && (i == 0 || !strings.ContainsRune("._-", rune(c))) {
			return false
		}
	}
	return s != ""
}

func validIfName(s string) bool {
	return s != "" && len(s) <= 15 && s != "." && s != ".." && !strings.ContainsAny(s, "/: \t\n\v\f\r%\x00")
}
