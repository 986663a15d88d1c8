// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package diagnosis

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

func agent(f *Facts) []Finding {
	switch a := f.Agent; {
	case !a.Answers:
		return []Finding{{
			Severity: Error, Message: "no agent answers here: " + a.Why,
			Remedy: "pods that run keep their network, new ones get none. Is the agent's pod on this node running, and does its log say why not?",
		}}
	case a.Refused != "":
		return []Finding{{
			Severity: Error, Message: "the agent allocates nothing: " + a.Refused + suffix("; it waits for ", a.Waiting),
			Remedy: "docs/troubleshoot.md, \"A peer is not well\", has each reason",
		}}
	}
	return nil
}

func suffix(before, text string) string {
	if text == "" {
		return ""
	}
	return before + text
}

func features(f *Facts) []Finding {
	var found []Finding
	if f.NoFilter != "" {
		found = append(found, Finding{Severity: Error, Message: f.NoFilter, Remedy: "load the modules named (modprobe, and /etc/modules-load.d), or run a kernel that has them"})
	}
	for _, text := range f.Lacking {
		found = append(found, Finding{Severity: Warning, Message: "this kernel lacks " + text, Remedy: "load the module, or run a kernel that has it; the agent then makes use of it by itself"})
	}
	return found
}

// forwarding judges the families that have a route of ours.
func forwarding(f *Facts) []Finding {
	var found []Finding
	for _, s := range []struct {
		name string
		six  bool
	}{{"ipv4/ip_forward", false}, {"ipv6/conf/all/forwarding", true}} {
		used := slices.ContainsFunc(f.Routes, func(r Route) bool { return r.Ours && r.To.Addr().Is6() == s.six })
		if used && f.Sysctls[s.name] != "1" {
			name := "net." + strings.ReplaceAll(s.name, "/", ".")
			found = append(found, Finding{
				Severity: Error, Message: fmt.Sprintf("%s is %q: this host forwards no packets to or from pods", name, f.Sysctls[s.name]),
				Remedy: fmt.Sprintf("sysctl -w %s=1, and find out who turned it off (/etc/sysctl.d, a firewall)", name),
			})
		}
	}
	return found
}

func device(f *Facts) []Finding {
	if !f.encapsulates() {
		return nil
	}
	o := f.Options
	l, found := f.link(o.Device)
	switch {
	case f.PortTaken:
		return []Finding{{
			Object: "interface/" + o.Device, Severity: Error, Message: fmt.Sprintf("a program has UDP port %d: the kernel cannot have it for tunnels", o.Port),
			Remedy: fmt.Sprintf("ss -ulpn 'sport = :%d' names it; end it, or set another --vxlan-port on every node at once", o.Port),
		}}
	case !found:
		return []Finding{{
			Object: "interface/" + o.Device, Severity: Error, Message: "there is no such device: no other node can be reached",
			Remedy: "the agent makes it as soon as it knows its underlay address; its log says what it waits for",
		}}
	case !l.VXLAN || l.Port != o.Port || l.VNI != o.VNI:
		return []Finding{{
			Object: "interface/" + o.Device, Severity: Error,
			Message: fmt.Sprintf("it has port %d and identifier %d, and the agent is told %d and %d", l.Port, l.VNI, o.Port, o.VNI),
			Remedy:  "restart the agent: it makes the device anew. Set --vxlan-port and --vxlan-id the same on every node",
		}}
	case !l.Up:
		return []Finding{{
			Object: "interface/" + o.Device, Severity: Error, Message: "it is down: no other node can be reached",
			Remedy: "ip link set " + o.Device + " up; the agent does so, too, so find out who takes it down (a network manager?)",
		}}
	}
	return nil
}

// What VXLAN puts around a packet: outer IP, UDP, VXLAN and inner Ethernet
// headers (RFC 7348, section 5).
const (
	overhead4 = 20 + 8 + 8 + 14
	overhead6 = 40 + 8 + 8 + 14
)

func mtu(f *Facts) []Finding {
	var found []Finding
	tunnel, has := f.link(f.Options.Device)
	if has && f.encapsulates() {
		told := map[string]bool{}
		for _, p := range f.Underlay {
			overhead := overhead4
			if p.Peer.Is6() {
				overhead = overhead6
			}
			if p.MTU == 0 || tunnel.MTU+overhead <= p.MTU || told[p.Out] {
				continue
			}
			told[p.Out] = true
			found = append(found, Finding{
				Object: "interface/" + p.Out, Severity: Error,
				Message: fmt.Sprintf("its MTU towards %s is %d, and a full packet of %s has %d with its tunnel's headers: large packets are lost, small ones are not",
					p.Peer, p.MTU, f.Options.Device, tunnel.MTU+overhead),
				Remedy: fmt.Sprintf("raise the MTU of %s to %d, or set the agents' --mtu to at most %d; pods that run keep theirs until they are started anew", p.Out, tunnel.MTU+overhead, p.MTU-overhead),
			})
		}
	}
	return append(found, largePods(f, tunnel, has)...)
}

// largePods are those made while the underlay had a larger MTU.
func largePods(f *Facts, tunnel Link, has bool) []Finding {
	var large []string
	for _, a := range f.Attachments {
		if has && f.encapsulates() && !a.Dying && a.MTU > tunnel.MTU {
			large = append(large, a.Pod)
		}
	}
	if len(large) == 0 {
		return nil
	}
	return []Finding{{
		Severity: Warning, Message: fmt.Sprintf("%d pods have a larger MTU than the tunnel (%d): %s", len(large), tunnel.MTU, some(large)),
		Remedy: "start them anew: a pod keeps the MTU that it was made with",
	}}
}

// routes finds what takes traffic to a range away from it: a route of
// somebody else's inside it, or to all of it at a lower metric.
func routes(f *Facts) []Finding {
	var found []Finding
	for _, r := range f.Routes {
		if r.Ours || r.To.Bits() == 0 || r.Device == f.Options.Device {
			continue
		}
		for _, ours := range f.Routes {
			inside := ours.Ours && ours.To.Overlaps(r.To) && r.To.Bits() >= ours.To.Bits()
			if !inside || r.To == ours.To && r.Metric > ours.Metric {
				continue
			}
			found = append(found, Finding{
				Object: "route/" + r.To.String(), Severity: Error,
				Message: fmt.Sprintf("a route of somebody else's to %s by %s takes traffic from %s, which is of this network", r.To, r.Device, ours.To),
				Remedy:  "ip route show " + r.To.String() + "; take it away, or let the pool not overlap what the hosts use (a bridge of a container engine, a VPN, the nodes' own subnet)",
			})
			break
		}
	}
	return found
}

// reversePath: strict (1) drops what comes in on another interface than
// answers go out by. The larger of all and the interface's own counts
// (https://docs.kernel.org/networking/ip-sysctl.html).
func reversePath(f *Facts) []Finding {
	strict := func(device string) bool {
		return max(f.Sysctls["ipv4/conf/all/rp_filter"], f.Sysctls["ipv4/conf/"+device+"/rp_filter"]) == "1"
	}
	crooked := map[string][]string{}
	for _, p := range f.Underlay {
		if p.Peer.Is4() && p.In != "" && p.Out != p.In && strict(p.In) {
			crooked[p.In+" "+p.Out] = append(crooked[p.In+" "+p.Out], p.Peer.String())
		}
	}
	var found []Finding
	for _, way := range slices.Sorted(maps.Keys(crooked)) {
		in, out, _ := strings.Cut(way, " ")
		found = append(found, Finding{
			Object: "interface/" + in, Severity: Error,
			Message: fmt.Sprintf("tunnels of %s come in by %s, answers go out by %s, and %[2]s filters strictly (rp_filter=1): the kernel drops them", some(crooked[way]), in, out),
			Remedy:  fmt.Sprintf("sysctl -w net.ipv4.conf.%s.rp_filter=2, in /etc/sysctl.d too; or route to the peers by %[1]s", in),
		})
	}
	return found
}

func conntrack(f *Facts) []Finding {
	t := f.Conntrack
	if t.Max == 0 || t.Count*10 < t.Max*9 {
		return nil
	}
	return []Finding{{
		Severity: Warning, Message: fmt.Sprintf("connection tracking holds %d of at most %d: new connections are refused when it is full", t.Count, t.Max),
		Remedy: "raise net.netfilter.nf_conntrack_max (kube-proxy sets it: --conntrack-max-per-core); the tunnels themselves are not tracked",
	}}
}

// some names the first few.
func some(all []string) string {
	const few = 5
	if len(all) <= few {
		return strings.Join(all, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(all[:few], ", "), len(all)-few)
}
