// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

// The page: what is known, what is selected, and how current it is.

import { byId, clock, count, el, age, moment, percent, text } from "./words.js";
import { drawRing } from "./ring.js";
import { drawPeers, setUpPeers, tickPeers, showPeer } from "./peers.js";
import { drawRemovals, drawEnded } from "./removals.js";

// silence is after how long without a sign of the program it counts as gone.
const silence = 15000;

const page = {
  peers: new Map(), // by name
  head: null,
  selected: "",
  // select takes a peer's name, or nothing; selected twice, it is no more.
  select(name, from) {
    page.selected = page.selected === name && !from ? "" : name;
    draw();
    if (page.selected && from) showPeer(page.selected, from);
  },
};

let pulse = null;
let heardHere = 0; // when the program was heard, by the browser's own clock
let ended = false;

function draw() {
  if (!page.head) return;
  byId("main").hidden = false;
  const h = page.head;
  text(byId("cluster"), h.cluster);
  text(byId("controller"), `Controller: ${h.controller}`);
  const attention = [...h.attention, ...h.unread.map((u) => `not shown: ${u}`)];
  byId("attention").hidden = attention.length === 0;
  byId("attention").replaceChildren(...attention.map((a) => el("li", {}, a)));
  drawFigures(h);
  drawRing(page);
  drawRemovals(page);
  drawEnded(page);
  drawPeers(page);
  if (!performance.getEntriesByName("drawn").length) performance.mark("drawn");
}

function drawFigures(h) {
  const unwell = [...page.peers.values()].filter((p) => p.health !== "good" && p.health !== "gone").length;
  const figures = [["Peers", count(page.peers.size - (h.phases.Removed || 0)), unwell ? `${count(unwell)} ${unwell === 1 ? "needs" : "need"} a look` : "all are well"]];
  for (const pool of h.pools.slice(0, 2)) {
    const name = h.pools.length > 1 ? `Addresses of ${pool.name}` : "Addresses";
    figures.push([name, count(pool.total), `${percent(pool.owned, pool.total)} owned, ${percent(pool.free, pool.total)} free`]);
  }
  const used = h.pools.reduce((sum, p) => sum + p.used, 0);
  figures.push(["In use", count(used), "by pods and hosts"]);
  figures.push(["Removals under way", count(h.removals.length), h.removals.some((r) => r.stalled) ? "one or more need you" : "none needs you"]);
  byId("figures").replaceChildren(...figures.map(([name, value, note]) =>
    el("div", {}, el("dt", {}, name), el("dd", {}, value), el("dd", { class: "muted" }, note))));
}

// current says whether the page is, and what is wrong.
function current() {
  if (ended) return [false, "ended", "kubectl selvage web has ended; start it again, and open the address that it prints."];
  if (!pulse) return [false, "connecting", ""];
  const shown = `What is shown is as of ${moment(pulse.heard)} (${age(pulse.heard)} ago)`;
  if (performance.now() - heardHere > silence) {
    return [false, "not live", `${shown}: kubectl selvage web does not answer. Is it still running? This page tries again by itself.`];
  }
  if (!pulse.live) return [false, "not live", `${shown}: ${pulse.why}. This page goes on by itself.`];
  return [true, "live", ""];
}

function tick() {
  const [live, word, why] = current();
  byId("live").dataset.live = live ? "yes" : "no";
  text(byId("live-text"), word);
  byId("banner").hidden = why === "";
  text(byId("banner"), why && `Not live. ${why}`);
  document.body.classList.toggle("old", why !== "");
  for (const time of document.querySelectorAll("time[data-since]")) text(time, age(Number(time.dataset.since)));
  tickPeers();
}

function listen() {
  const events = new EventSource("events");
  const on = (name, take) => events.addEventListener(name, (event) => {
    heardHere = performance.now();
    ended = false;
    take(JSON.parse(event.data));
  });
  on("document", (d) => {
    const { peers, ...head } = d;
    page.head = head;
    page.peers = new Map(peers.map((p) => [p.name, p]));
    draw();
  });
  on("change", (c) => {
    if (c.head) page.head = c.head;
    for (const name of c.gone || []) page.peers.delete(name);
    for (const p of c.peers || []) page.peers.set(p.name, p);
    draw();
  });
  on("pulse", (p) => {
    clock.ahead = p.now - Date.now();
    pulse = p;
    tick();
  });
  on("end", () => {
    ended = true;
    tick();
  });
  // The browser goes on by itself, but not where it was refused: the program
  // was started again, and has another secret.
  events.addEventListener("error", () => {
    if (events.readyState === EventSource.CLOSED) ended = true;
    tick();
  });
}

setUpPeers(page);
listen();
setInterval(tick, 1000);
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && page.selected) page.select(page.selected);
});
