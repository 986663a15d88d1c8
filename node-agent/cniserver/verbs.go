// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package cniserver

import (
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"slices"

	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"

	"github.com/selvage-net/selvage/node-agent/addresses"
	"github.com/selvage-net/selvage/node-agent/datapath"
)

// do carries a call out and returns what the plugin prints.
func (s *Server) do(r *request) ([]byte, error) {
	switch r.command {
	case "ADD":
		return s.add(r)
	case "DEL":
		return nil, s.del(r.key)
	case "CHECK":
		return nil, s.check(r)
	case "GC":
		return nil, s.collect(r)
	case "STATUS":
		return nil, s.status()
	}
	return versions(r)
}

func (s *Server) add(r *request) ([]byte, error) {
	prev, cniErr := previous(r)
	if cniErr != nil {
		return nil, cniErr
	}
	unlock := s.turns.take(r.key)
	defer unlock()
	// A repeated ADD, after a timeout or a restart, must not take from the first.
	before := s.config.Ledger.Lookup(r.key)
	families := addresses.Families(0)
	if s.config.Families != nil {
		families = s.config.Families()
	}
	addrs, err := s.config.Ledger.Allocate(r.key, addresses.Request{Want: r.want, Families: families})
	if err != nil {
		return nil, err
	}
	got, err := s.config.Kernel.Attach(datapath.AttachRequest{
		Network: r.key.Network, Sandbox: r.key.Sandbox, IfName: r.key.IfName,
		Pod: r.pod, NetNS: r.netns, Addresses: addrs, MTU: r.conf.MTU,
	})
	if err != nil {
		if before == nil {
			s.config.Ledger.Release(r.key)
		}
		return nil, r.explain(err)
	}
	body, err := s.finishAdd(r, prev, got, addrs)
	if err != nil && before == nil {
		return nil, errors.Join(err, s.detach(r.key))
	}
	return body, err
}

// explain says what is wrong with the call if Attach fails because of it.
func (r *request) explain(err error) error {
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fail(codeUnknown, "the pod's network namespace %s is gone: %v", r.netns, err)
	case errors.Is(err, datapath.ErrNotPodNamespace):
		return fail(codeEnvironment, "CNI_NETNS: %v", err)
	}
	return err
}

// finishAdd asks whether the address may still be given: the lease may have
// run out, or the range gone, while the interface was being made.
func (s *Server) finishAdd(r *request, prev *current.Result, got datapath.Interfaces, addrs []netip.Addr) ([]byte, error) {
	body, cniErr := result(r, prev, got, addrs)
	if cniErr != nil {
		return nil, cniErr
	}
	return body, s.config.Ledger.Permit()
}

func (s *Server) del(k addresses.Key) error {
	unlock := s.turns.take(k)
	defer unlock()
	return s.detach(k)
}

// detach frees what an attachment holds once the kernel has cut it off. If that
// fails, the address stays with its interface.
func (s *Server) detach(k addresses.Key) error {
	if err := s.config.Kernel.Detach(k.Network, k.Sandbox, k.IfName); err != nil {
		return err
	}
	s.config.Ledger.Release(k)
	return nil
}

// Gone is to be told of each attachment whose link is gone, whoever took it
// away: a DEL that never comes frees nothing, this does.
func (s *Server) Gone(a datapath.Attachment) {
	k := addresses.Key{Network: a.Network, Sandbox: a.Sandbox, IfName: a.IfName}
	unlock := s.turns.take(k)
	defer unlock()
	// The news may be late, and the same interface have been made anew since.
	now, there, err := s.config.Kernel.Lookup(k.Network, k.Sandbox, k.IfName)
	if err != nil {
		s.config.Log.Error("cannot see whether an interface is gone: its address stays in use", "attachment", k.String(), "error", err)
		return
	}
	if there && !now.Dying {
		return
	}
	if s.config.Ledger.Release(k) {
		s.config.Log.Info("an interface is gone without a DEL: its address is free", "attachment", k.String(), "pod", a.Pod)
	}
}

func (s *Server) check(r *request) error {
	prev, cniErr := previous(r)
	if cniErr != nil {
		return cniErr
	}
	if prev == nil {
		return fail(codeConfig, "CHECK needs prevResult, the result of ADD")
	}
	unlock := s.turns.take(r.key)
	defer unlock()
	held := s.config.Ledger.Lookup(r.key)
	if held == nil {
		return fail(codeUnknown, "no interface %s of container %s in network %s is known here", r.key.IfName, r.key.Sandbox, r.key.Network)
	}
	var listed []netip.Addr
	for _, ip := range prev.IPs {
		if a, ok := netip.AddrFromSlice(ip.Address.IP); ok {
			listed = append(listed, a.Unmap())
		}
	}
	for _, a := range held {
		if !slices.Contains(listed, a) {
			return fail(codeWrong, "the interface has %s, which prevResult does not list", a)
		}
	}
	a, there, err := s.config.Kernel.Lookup(r.key.Network, r.key.Sandbox, r.key.IfName)
	if err != nil {
		return err
	}
	if !there {
		return fail(codeUnknown, "the host's link of interface %s of container %s is gone", r.key.IfName, r.key.Sandbox)
	}
	if err := s.config.Kernel.Check(a); err != nil {
		return types.NewError(codeWrong, "the interface is not as ADD made it", err.Error())
	}
	return nil
}

// collect takes away all attachments of the network that the runtime does not
// list.
func (s *Server) collect(r *request) error {
	if r.conf.ValidAttachments == nil {
		return fail(codeConfig, "GC needs cni.dev/valid-attachments: without it nothing is known to be valid, and nothing is removed")
	}
	links, err := s.config.Kernel.Dump()
	if err != nil {
		return err
	}
	valid := make(map[types.GCAttachment]struct{}, len(*r.conf.ValidAttachments))
	for _, a := range *r.conf.ValidAttachments {
		valid[a] = struct{}{}
	}
	var errs []error
	for _, a := range links {
		_, keep := valid[types.GCAttachment{ContainerID: a.Sandbox, IfName: a.IfName}]
		if keep || a.Dying || a.Network != r.conf.Name {
			continue
		}
		errs = append(errs, s.del(addresses.Key{Network: a.Network, Sandbox: a.Sandbox, IfName: a.IfName}))
	}
	return errors.Join(errs...)
}

func (s *Server) status() error {
	if s.config.Health == nil {
		return nil
	}
	if err := s.config.Health(); err != nil {
		return types.NewError(codeUnavailable, err.Error(), "")
	}
	return nil
}

func versions(r *request) ([]byte, error) {
	said := r.conf.CNIVersion
	if said == "" {
		said = newest
	}
	body, err := json.Marshal(struct {
		CNIVersion string   `json:"cniVersion"`
		Supported  []string `json:"supportedVersions"`
	}{said, supported})
	return append(body, '\n'), err
}
