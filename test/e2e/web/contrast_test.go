// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package web

// contrast lists the texts of the page whose contrast against what is below
// them is less than 4.5 to 1, as WCAG 2.2 reckons it
// (https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio). Letters on the ring have
// an outline of the arc's colour, which is what is below them.
const contrast = `(() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  // over paints colours, the lowest first, and returns what is seen.
  const over = (colours) => {
    canvas.clearRect(0, 0, 1, 1);
    for (const c of colours) { canvas.fillStyle = c; canvas.fillRect(0, 0, 1, 1); }
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const linear = (c) => { c /= 255; return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const ratio = (a, b) => { const [x, y] = [light(a), light(b)]; return (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05); };
  const below = (e) => { const list = []; for (; e; e = e.parentElement) list.unshift(getComputedStyle(e).backgroundColor); return ["Canvas", ...list]; };
  const poor = [];
  let looked = 0;
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const words = walk.currentNode.textContent.trim(), e = walk.currentNode.parentElement;
    if (!words || e.closest("script, noscript, style, option") || !e.checkVisibility({ visibilityProperty: true })) continue;
    const style = getComputedStyle(e), drawn = e instanceof SVGElement;
    const ground = below(e);
    if (drawn && style.stroke !== "none") ground.push(style.stroke);
    const seen = over(ground), ink = over([...ground, drawn ? style.fill : style.color]);
    looked++;
    const is = ratio(ink, seen);
    if (is < 4.5) poor.push(words.slice(0, 40) + ": " + is.toFixed(2) + " (" + ink + " on " + seen + ")");
  }
  return looked > 60 ? poor : ["only " + looked + " texts were looked at"];
})()`
