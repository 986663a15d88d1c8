// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

// The ring: one pool, its first address at the top, clockwise. Outside who owns
// it, with a sign if something is to be known; inside how full it is.

import { byId, count, el, hueClass, percent, plural, share, svg, swatch, text } from "./words.js";

const outer = 204, inner = 166, gauge = 160, gaugeDepth = 26;
const full = 2 * Math.PI;

let chosen = ""; // the pool that is drawn
let focused = ""; // the CIDR of the arc that Tab reaches
let page = null;
const drawn = new Map(); // arcs by CIDR

const point = (angle, radius) => [radius * Math.sin(angle), -radius * Math.cos(angle)].map((n) => n.toFixed(2)).join(" ");

// band is the part of a circle between two angles and two radii.
function band(from, to, far, near) {
  const large = to - from > Math.PI ? 1 : 0;
  return `M${point(from, far)}A${far} ${far} 0 ${large} 1 ${point(to, far)}L${point(to, near)}A${near} ${near} 0 ${large} 0 ${point(from, near)}Z`;
}

// span is the angles of an arc, with a gap to the next one.
function span(arc) {
  const from = arc.start * full, size = Math.min(arc.size, 0.99999) * full;
  const gap = Math.min(0.006, size * 0.12);
  return [from + gap, from + size - gap];
}

const middle = (arc) => (arc.start + arc.size / 2) * full;

export function drawRing(of) {
  page = of;
  const pools = page.head.pools;
  if (!pools.some((p) => p.name === chosen)) chosen = pools.length ? pools[0].name : "";
  const pool = pools.find((p) => p.name === chosen);
  byId("pools").replaceChildren(...(pools.length > 1 ? pools.map(tab) : []));
  drawOwners(pool);
  if (!pool) {
    byId("ring").replaceChildren();
    text(byId("arc"), "no address pools: create one, such as kubectl apply -f config/samples");
    return;
  }
  const ring = byId("ring");
  if (!ring.firstChild) scaffold(ring);
  drawArcs(pool);
  drawMoves(pool);
  drawCentre(pool);
  tellArc(pool.arcs.find((a) => a.cidr === focused && drawn.get(a.cidr)?.node === document.activeElement), pool);
}

const tab = (p) => el("button", {
  type: "button", "aria-pressed": String(p.name === chosen),
  onclick() { chosen = p.name; focused = ""; drawRing(page); },
}, p.name);

function scaffold(ring) {
  const hatch = (id, turn) => svg("pattern", { id, width: 7, height: 7, patternUnits: "userSpaceOnUse", patternTransform: `rotate(${turn})` },
    svg("rect", { width: 2.6, height: 7, class: "hatching" }));
  ring.append(
    svg("defs", {}, hatch("moving", 45), hatch("silent", -45),
      svg("pattern", { id: "dots", width: 6, height: 6, patternUnits: "userSpaceOnUse" }, svg("circle", { cx: 2, cy: 2, r: 1.1, class: "dotting" })),
      svg("marker", { id: "tip", viewBox: "0 0 10 10", refX: 6, refY: 5, markerWidth: 5.5, markerHeight: 5.5, orient: "auto" },
        svg("path", { d: "M0 0L10 5L0 10Z", class: "tip" }))),
    svg("circle", { class: "track", r: (outer + inner) / 2, "stroke-width": outer - inner }),
    svg("circle", { class: "track faint", r: gauge - gaugeDepth / 2, "stroke-width": gaugeDepth }),
    svg("g", { id: "arcs" }), svg("g", { id: "moves", "aria-hidden": "true" }), svg("g", { id: "centre" }));
}

// drawArcs keeps the elements of arcs that stay, and with them the focus.
function drawArcs(pool) {
  const group = byId("arcs"), now = new Set(pool.arcs.map((a) => a.cidr));
  for (const [cidr, old] of drawn) {
    if (now.has(cidr)) continue;
    if (old.node === document.activeElement) focused = "";
    old.node.remove();
    drawn.delete(cidr);
  }
  if (!now.has(focused)) focused = pool.arcs.length ? pool.arcs[0].cidr : "";
  let last = null;
  for (const arc of pool.arcs) {
    let entry = drawn.get(arc.cidr);
    if (!entry) drawn.set(arc.cidr, (entry = newArc()));
    entry.arc = arc;
    paint(entry, arc);
    const place = last ? last.nextSibling : group.firstChild;
    if (place !== entry.node) group.insertBefore(entry.node, place);
    last = entry.node;
  }
}

function newArc() {
  const entry = { body: svg("path", {}), marking: svg("path", { class: "marking" }), use: svg("path", {}), key: svg("text", { class: "key" }), sign: svg("text", { class: "sign" }) };
  entry.node = svg("g", {
    role: "button", class: "arc",
    onclick: () => enter(entry, "pointer"),
    onkeydown: (event) => along(event, entry),
    // As the key comes up: what it repeats must not reach what the focus goes to.
    onkeyup: (event) => { if (presses(event)) enter(entry, "keyboard"); },
    onfocus: () => { setFocus(entry.arc.cidr); tellArc(entry.arc); },
    onblur: () => tellArc(null),
    onmouseenter: () => tellArc(entry.arc),
    onmouseleave: () => tellArc(null),
  }, entry.body, entry.marking, entry.use, entry.key, entry.sign);
  return entry;
}

function paint(entry, arc) {
  const [from, to] = span(arc), mid = middle(arc);
  const other = page.selected && arc.peer !== page.selected;
  entry.node.setAttribute("class", `arc${other ? " dim" : ""}${arc.peer && arc.peer === page.selected ? " selected" : ""}`);
  entry.node.setAttribute("tabindex", arc.cidr === focused ? "0" : "-1");
  entry.node.setAttribute("aria-label", [arc.who, arc.cidr, arc.use, arc.why].filter(Boolean).join(", "));
  entry.node.setAttribute("aria-pressed", String(Boolean(arc.peer) && arc.peer === page.selected));
  entry.body.setAttribute("d", band(from, to, outer, inner));
  entry.body.setAttribute("class", `body ${hueClass(arc.hue)}`);
  entry.marking.setAttribute("d", arc.mark ? band(from, to, outer, inner) : "");
  entry.marking.setAttribute("fill", arc.mark === "silent" || arc.mark === "orphaned" ? "url(#silent)" : "url(#moving)");
  const depth = arc.fill > 0 ? Math.max(2, gaugeDepth * arc.fill) : 0;
  entry.use.setAttribute("d", depth ? band(from, to, gauge, gauge - depth) : "");
  entry.use.setAttribute("class", `use ${arc.fill >= 0.9 ? "bad" : arc.fill >= 0.75 ? "warn" : ""}`);
  label(entry.key, arc.size > 0.018 ? arc.key : "", mid, (outer + inner) / 2, `key on-${hueClass(arc.hue)}`);
  label(entry.sign, arc.size > 0.012 ? arc.sign : "", arc.moves ? mid - 0.07 : mid, outer + 13, `sign ${arc.mark === "silent" || arc.mark === "orphaned" ? "bad" : ""}`);
}

function label(node, words, angle, radius, style) {
  const [x, y] = point(angle, radius).split(" ");
  node.setAttribute("x", x);
  node.setAttribute("y", y);
  node.setAttribute("class", style);
  text(node, words);
}

// drawMoves draws an arrow for each way that ranges go, round the outside.
function drawMoves(pool) {
  const ways = new Map();
  for (const arc of pool.arcs.filter((a) => a.moves && a.from && a.to && a.from !== a.to)) {
    const way = JSON.stringify([arc.from, arc.to]);
    if (!ways.has(way)) ways.set(way, []);
    ways.get(way).push(arc);
  }
  const arrows = [];
  for (const [way, arcs] of [...ways].slice(0, 3)) {
    const [from, to] = JSON.parse(way);
    // What is at the heir already comes from where the former owner was.
    const there = largest(pool.arcs.filter((a) => a.peer === to && !a.moves));
    const here = largest(arcs.filter((a) => a.peer === from));
    if (there && here) arrows.push(arrow(middle(here), middle(there), outer + 28 + 10 * arrows.length));
  }
  byId("moves").replaceChildren(...arrows);
}

const largest = (arcs) => arcs.reduce((a, b) => (a && a.size >= b.size ? a : b), null);

function arrow(from, to, radius) {
  let way = (to - from) % full;
  if (way > Math.PI) way -= full;
  if (way < -Math.PI) way += full;
  const end = from + way, sweep = way > 0 ? 1 : 0, bend = Math.min(0.07, Math.abs(way) / 3) * Math.sign(way);
  return svg("path", {
    class: "way", "marker-end": "url(#tip)",
    d: `M${point(from, outer + 5)}L${point(from, radius - 12)}Q${point(from, radius)} ${point(from + bend, radius)}`
      + `A${radius} ${radius} 0 0 ${sweep} ${point(end - bend, radius)}Q${point(end, radius)} ${point(end, outer + 6)}`,
  });
}

function drawCentre(pool) {
  const line = (y, style, words) => svg("text", { class: style, x: 0, y }, words);
  byId("centre").replaceChildren(
    line(-46, "pool", pool.name),
    line(-6, "big", percent(pool.owned, pool.total)),
    line(34, "small", pool.accepted ? "owned" : "owned; not accepted"),
    line(59, "small", pool.cidr),
    ...(pool.window !== pool.cidr ? [line(82, "small", `drawn: ${pool.window}`)] : []));
}

function drawOwners(pool) {
  const owners = pool ? pool.owners : [];
  text(byId("owners-sum"), pool ? `of pool ${pool.name}, ${pool.cidr}` : "");
  const lines = owners.map((o) => el("li", {}, el("button", {
    type: "button", "aria-pressed": String(o.peer === page.selected), onclick: () => page.select(o.peer),
  }, swatch(o.key, o.hue), el("span", { class: "name" }, o.peer), o.state && el("span", { class: "chip warn" }, o.state),
  el("span", { class: "muted" }, `${plural(o.ranges, "range")}, ${count(o.addresses)} addresses, ${count(o.used)} in use`),
  el("b", {}, share(o.share)))));
  if (pool && pool.others) lines.push(el("li", { class: "muted rest" }, `and ${plural(pool.others, "other")}`));
  if (pool) lines.push(el("li", { class: "rest" }, swatch("", -3), el("span", { class: "name" }, "free"), el("b", {}, percent(pool.free, pool.total))));
  byId("owners").replaceChildren(...lines);
  text(byId("signs"), ["Outside: who owns it. Inside: how full it is.", ...(pool ? pool.signs : []).map((s) => `${s.sign} ${s.means}.`)].join(" "));
}

// tellArc says who, which range and how full, of the arc that is pointed at.
function tellArc(arc) {
  const pool = page.head.pools.find((p) => p.name === chosen);
  const words = byId("arc");
  if (!arc) {
    words.replaceChildren(el("span", { class: "muted" }, pool ? `${plural(pool.ranges, "range")}. Point at one, or go along with the arrow keys.` : ""));
    return;
  }
  words.replaceChildren(swatch(arc.key, arc.hue), el("b", {}, arc.who), el("code", {}, arc.cidr), el("span", {}, arc.use),
    arc.why && el("span", { class: "why" }, `${arc.sign} ${arc.why}`));
}

function setFocus(cidr) {
  drawn.get(focused)?.node.setAttribute("tabindex", "-1");
  focused = cidr;
  drawn.get(cidr).node.setAttribute("tabindex", "0");
}

function enter(entry, from) {
  if (!entry.arc.peer) return;
  if (from === "pointer") page.select(entry.arc.peer);
  else page.select(entry.arc.peer, "keyboard");
}

const presses = (event) => event.key === "Enter" || event.key === " ";

function along(event, entry) {
  const order = page.head.pools.find((p) => p.name === chosen).arcs.map((a) => a.cidr);
  const at = order.indexOf(entry.arc.cidr);
  const to = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: order.length - 1 }[event.key];
  if (presses(event)) {
    event.preventDefault();
  } else if (to !== undefined) {
    event.preventDefault();
    drawn.get(order[(to + order.length) % order.length]).node.focus();
  }
}
