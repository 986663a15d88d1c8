// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

// The table of peers: filtered, sorted, and drawn as far as one scrolls.

import { age, byId, clock, count, el, moment, plural, swatch, text } from "./words.js";

// step is how many rows are drawn at once: thousands would take seconds.
const step = 50;

const marks = { good: "●", warn: "▲", bad: "✖", gone: "○" };
const columns = [
  { id: "name", title: "Peer", value: (p) => p.name },
  { id: "state", title: "State", value: (p) => ["bad", "warn", "good", "gone"].indexOf(p.health) },
  { id: "lease", title: "Lease", value: (p) => p.renewed },
  { id: "ranges", title: "Ranges", number: true, value: (p) => p.ranges },
  { id: "addresses", title: "Addresses", number: true, value: (p) => p.addresses },
  { id: "used", title: "Used", number: true, value: (p) => p.used },
  { id: "version", title: "Version", value: (p) => p.version },
  { id: "underlay", title: "Underlay", value: (p) => p.underlay.join(" ") },
];

let page = null;
let limit = step;
let order = { id: "name", down: false };
const rows = new Map(); // by name

export function setUpPeers(of) {
  page = of;
  const again = () => { limit = step; drawPeers(page); };
  byId("filter").addEventListener("input", again);
  byId("state").addEventListener("change", again);
  byId("more").addEventListener("click", () => { limit += 2 * step; drawPeers(page); });
  byId("columns").append(...columns.map((c) => el("th", { scope: "col", id: `by-${c.id}`, class: c.number ? "number" : "" },
    el("button", { type: "button", onclick() { order = { id: c.id, down: order.id === c.id && !order.down }; again(); } }, c.title))));
}

function matching() {
  const words = byId("filter").value.trim().toLowerCase().split(/\s+/).filter(Boolean);
  const state = byId("state").value;
  const fits = (p) => {
    if (state === "unwell" && (p.health === "good" || p.health === "gone")) return false;
    if (state && state !== "unwell" && !p.state.startsWith(state)) return false;
    if (!words.length) return true;
    const said = [p.name, p.host, p.state, p.message, p.version, ...p.underlay, ...p.cidrs].join(" ").toLowerCase();
    return words.every((w) => said.includes(w));
  };
  const by = columns.find((c) => c.id === order.id).value;
  const compare = (a, b) => {
    const x = by(a), y = by(b);
    return (x < y ? -1 : x > y ? 1 : 0) * (order.down ? -1 : 1) || (a.name < b.name ? -1 : 1);
  };
  return [...page.peers.values()].filter(fits).sort(compare);
}

export function drawPeers(of) {
  page = of;
  const found = matching(), shown = found.slice(0, limit);
  // Who is selected is there, however far down.
  const selected = page.peers.get(page.selected);
  if (selected && !shown.includes(selected)) shown.unshift(selected);
  const names = new Set(shown.map((p) => p.name));
  for (const [name, row] of rows) {
    if (names.has(name)) continue;
    row.node.remove();
    row.detail?.remove();
    rows.delete(name);
  }
  const body = byId("rows");
  let place = body.firstChild;
  for (const p of shown) {
    const row = paint(p);
    for (const node of [row.node, row.detail].filter(Boolean)) {
      if (place === node) place = place.nextSibling;
      else body.insertBefore(node, place);
    }
  }
  for (const c of columns) byId(`by-${c.id}`).setAttribute("aria-sort", c.id !== order.id ? "none" : order.down ? "descending" : "ascending");
  text(byId("peers-sum"), found.length === page.peers.size ? count(found.length) : `${count(found.length)} of ${count(page.peers.size)}`);
  byId("more").hidden = found.length <= limit;
  if (found.length > limit) text(byId("more"), `Show ${count(Math.min(2 * step, found.length - limit))} more of ${count(found.length - limit)}`);
}

// paint draws a row anew where it has changed.
function paint(p) {
  const chosen = p.name === page.selected, said = JSON.stringify([p, chosen]);
  let row = rows.get(p.name);
  if (row && row.said === said) return row;
  if (!row) {
    const name = el("button", { type: "button", class: "peer", onclick: () => page.select(p.name) });
    row = { node: el("tr", { "data-peer": p.name }), name };
    rows.set(p.name, row);
  }
  row.said = said;
  row.name.replaceChildren(swatch(p.key, p.hue), p.name);
  row.name.setAttribute("aria-expanded", String(chosen));
  row.node.className = chosen ? "selected" : "";
  const keep = row.name === document.activeElement;
  row.node.replaceChildren(...cells(p, row));
  if (keep) row.name.focus();
  row.detail?.remove();
  row.detail = chosen ? detail(p) : null;
  return row;
}

function cells(p, row) {
  const cell = (id, ...inside) => el("td", { "data-title": columns.find((c) => c.id === id).title, class: columns.find((c) => c.id === id).number ? "number" : id }, ...inside);
  row.lease = { node: el("span", {}), peer: p };
  tickLease(row.lease);
  return [
    el("th", { scope: "row" }, row.name),
    cell("state", el("span", { class: `health ${p.health}` }, el("span", { "aria-hidden": "true" }, marks[p.health]), ` ${p.state}`),
      p.message && p.health !== "good" ? el("span", { class: "message" }, p.message) : null),
    cell("lease", row.lease.node),
    cell("ranges", count(p.ranges)),
    cell("addresses", count(p.addresses)),
    cell("used", el("span", { class: "meter" }, count(p.used), el("meter", { min: 0, max: Math.max(1, p.addresses), value: p.used, high: p.addresses * 0.9 || 1, "aria-hidden": "true" }))),
    cell("version", p.version || "–"),
    cell("underlay", p.underlay.join(", ") || "–"),
  ];
}

function detail(p) {
  const item = (name, ...value) => [el("dt", {}, name), el("dd", {}, ...value)];
  const left = p.ranges - p.cidrs.length;
  return el("tr", { class: "detail" }, el("td", { colspan: columns.length }, el("dl", {},
    ...item("Ranges", ...p.cidrs.map((c) => el("code", {}, c)), left > 0 ? `and ${plural(left, "other")}` : p.cidrs.length ? null : "none"),
    ...item("Host", p.host || "–"),
    ...item("Instance", el("code", {}, p.instance)),
    ...item("Joined", `${moment(p.since)}, `, el("time", { "data-since": p.since }, age(p.since)), " ago"),
    ...(p.message ? item("Message", p.message) : []))));
}

function tickLease({ node, peer }) {
  const ago = peer.renewed ? age(peer.renewed) : "";
  const late = peer.lease === "held" && peer.lasts > 0 && clock.now() - peer.renewed > peer.lasts;
  const words = {
    held: late ? `overdue: renewed ${ago} ago` : ago ? `renewed ${ago} ago` : "held",
    sealed: ago ? `sealed, ${ago} ago` : "sealed", absent: "absent", unread: "not readable",
  }[peer.lease];
  text(node, words);
  node.className = late || peer.lease === "absent" ? "warn" : "";
}

// tickPeers lets the ages of leases grow.
export function tickPeers() {
  for (const row of rows.values()) tickLease(row.lease);
}

// showPeer brings a peer's row where it can be seen, and the keyboard to it.
export function showPeer(name, from) {
  const row = rows.get(name);
  if (!row) return;
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  row.node.scrollIntoView({ block: "center", behavior: calm ? "auto" : "smooth" });
  if (from === "keyboard") row.name.focus({ preventScroll: true });
}
