// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package diagnosis

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"
)

// pluginName is the CNI plugin's.
const pluginName = "selvage"

func cni(f *Facts) []Finding {
	dir := f.CNI
	var found []Finding
	ours := slices.IndexFunc(dir.Files, func(c Configuration) bool { return slices.Contains(c.Plugins, pluginName) })
	switch {
	case ours < 0:
		found = append(found, Finding{
			Object: "folder/" + dir.Path, Severity: Error, Message: "no CNI configuration names the plugin selvage: pods get no network from it",
			Remedy: "the agent installs it once this node can serve pods; its log says what it waits for. Is the folder the one that the runtime reads?",
		})
	case ours > 0:
		found = append(found, Finding{
			Object: "file/" + filepath.Join(dir.Path, dir.Files[0].Name), Severity: Error,
			Message: fmt.Sprintf("it sorts before %s, and the runtime takes the first: pods get the network %q", dir.Files[ours].Name, dir.Files[0].Network),
			Remedy:  "uninstall the other pod network, then take its file away; pods that run have to be started anew",
		})
	}
	for i, c := range dir.Files {
		switch {
		case c.Broken != "":
			found = append(found, Finding{Object: "file/" + filepath.Join(dir.Path, c.Name), Severity: Warning, Message: "it cannot be read as a CNI configuration: " + c.Broken, Remedy: "take it away, or correct it"})
		case ours >= 0 && i > ours:
			found = append(found, Finding{
				Object: "file/" + filepath.Join(dir.Path, c.Name), Severity: Warning,
				Message: fmt.Sprintf("the configuration of another network, %q, is here too: should ours be away, the runtime takes it", c.Network),
				Remedy:  "take it away, unless it belongs to a network on top of this one (Multus)",
			})
		}
	}
	if ours >= 0 && !dir.Plugin {
		found = append(found, Finding{
			Object: "file/" + filepath.Join(dir.Bin, pluginName), Severity: Error, Message: "the plugin is not there, or is no program",
			Remedy: "the agent installs it (--cni-bin-dir); its log says why it cannot. Is that the runtime's folder?",
		})
	}
	return found
}

func sandboxes(f *Facts) []Finding {
	var found []Finding
	for _, a := range f.Attachments {
		if a.Dying || f.Sandboxes[a.Sandbox] {
			continue
		}
		found = append(found, Finding{
			Object: "interface/" + a.Interface, Severity: Warning,
			Message: fmt.Sprintf("it holds %v for the sandbox %s (%s), which the container runtime does not know", a.Addresses, a.Sandbox, a.Pod),
			Remedy:  fmt.Sprintf("if it is still so in some minutes: ip link del %s; the addresses are then free", a.Interface),
		})
	}
	return found
}

// mostPartsPerMillion is how much faster or slower than another a clock may
// run. An agent allows for a tenth of its lease; this is a hundredth of that,
// and no working NTP steers a machine so far (500 ppm, RFC 5905, section 11.3).
const mostPartsPerMillion = 1000

func clock(f *Facts) []Finding {
	var found []Finding
	if r := f.Clock.PartsPerMillion; math.Abs(r) > mostPartsPerMillion {
		found = append(found, Finding{
			Severity: Error, Message: fmt.Sprintf("the kernel's clock is made to run off by %.0f parts per million: leases are timed by its rate", r),
			Remedy: "look at adjtimex (tick, frequency) and at who sets it; let NTP step the time instead of bending the rate so far",
		})
	}
	if s := f.Clock.Source; s == "jiffies" {
		found = append(found, Finding{
			Severity: Warning, Message: "the clock source is " + s + ", which loses time on a busy machine", Remedy: "/sys/devices/system/clocksource/clocksource0/available_clocksource lists better ones",
		})
	}
	return found
}

// overlay tells a tunnel that is blocked from a peer that is away. What is not
// answered beside the tunnels either says nothing about the tunnels.
func overlay(f *Facts) []Finding {
	var blocked, away []string
	for _, p := range f.Reach {
		switch {
		case p.Overlay:
		case p.Underlay:
			blocked = append(blocked, p.Peer.String())
		default:
			away = append(away, p.Peer.String())
		}
	}
	var found []Finding
	if len(blocked) > 0 {
		found = append(found, Finding{
			Severity: Error, Message: fmt.Sprintf("%d of %d peers answer outside the network and not through it: %s", len(blocked), len(f.Reach), some(blocked)),
			Remedy: fmt.Sprintf("let UDP port %d pass between the nodes, both ways, in every firewall (a rule on `ct state` is not enough: tunnels are not tracked); "+
				"then doctor on such a peer", f.Options.Port),
		})
	}
	if len(away) > 0 {
		found = append(found, Finding{
			Severity: Warning, Message: fmt.Sprintf("%d of %d peers answer neither through the network nor outside it: %s", len(away), len(f.Reach), some(away)),
			Remedy: "are those machines up, and is their network? If they are gone for good: kubectl selvage rmpeer",
		})
	}
	return found
}
