// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

// Removals: those under way, with what each waits for, and those that are over.

import { age, byId, count, el, moment, plural, swatch, text } from "./words.js";

const steps = ["Pending", "Fencing", "Transferring", "Removed"];
const most = 20;

const since = (at) => el("time", { "data-since": at, title: moment(at) }, age(at));

function who(page, name) {
  const p = page.peers.get(name);
  return el("span", { class: "who" }, swatch(p ? p.key : "", p ? p.hue : -1), el("b", {}, name));
}

function removal(page, r) {
  const at = steps.indexOf(r.phase);
  return el("article", { class: `removal${r.stalled ? " stalled" : ""}`, "data-peer": r.peer },
    el("h3", {}, who(page, r.peer), el("span", { class: "to" }, "→"), r.heir ? who(page, r.heir) : "back to its pools"),
    el("p", { class: "muted" }, `${r.reason}, since `, since(r.since), r.evidence ? `. Evidence: ${r.evidence}` : ". No evidence yet that it allocates no more"),
    el("ol", { class: "steps" }, ...steps.map((s, i) =>
      el("li", { class: i < at ? "done" : i === at ? "now" : "", "aria-current": i === at ? "step" : null }, s))),
    el("p", { class: "state" }, r.stalled ? el("span", { class: "chip bad" }, "needs you") : null, r.state),
    r.cutOff >= 0 && r.others > 0 && r.phase === "Transferring"
      ? el("progress", { max: r.others, value: r.cutOff, "aria-label": `cut off by ${r.cutOff} of ${r.others} peers` }) : null,
    el("p", { class: "muted" }, r.next));
}

export function drawRemovals(page) {
  const list = page.head.removals;
  text(byId("removals-sum"), list.length ? count(list.length) : "");
  const shown = list.slice(0, most).map((r) => removal(page, r));
  if (!list.length) shown.push(el("p", { class: "muted" }, "None. Nothing waits for anything."));
  if (list.length > most) shown.push(el("p", { class: "muted" }, `and ${count(list.length - most)} more: kubectl selvage status`));
  byId("removals").replaceChildren(...shown);
}

export function drawEnded(page) {
  const list = page.head.ended;
  byId("ended-card").hidden = list.length === 0;
  const lines = list.slice(0, 2 * most).map((e) => el("li", {},
    el("b", {}, e.outcome),
    el("span", { class: "muted" }, [e.completed ? `at ${moment(e.completed)}` : "", e.evidence, e.keptOut ? `${e.peer} is kept out until its PeerRemoval is deleted` : `${e.peer} may join anew`].filter(Boolean).join(" · "))));
  if (list.length > 2 * most) lines.push(el("li", { class: "muted" }, `and ${plural(list.length - 2 * most, "other")}`));
  byId("ended").replaceChildren(...lines);
}
