// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package ownership

// Reasons of Events; docs/events.md has the table.
const (
	EventAccepted         = "Accepted"
	EventTooManyAtOnce    = "TooManyAtOnce"
	EventGranted          = "Granted"
	EventAskedBack        = "AskedBack"
	EventGaveBack         = "GaveBack"
	EventRemovalAccepted  = "RemovalAccepted"
	EventRemovalBegun     = "RemovalBegun"
	EventRemovalCancelled = "RemovalCancelled"
	EventFenced           = "Fenced"
	EventTakenOver        = "TakenOver"
	EventRemoved          = "Removed"
)
