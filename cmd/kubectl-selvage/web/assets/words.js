// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

// Numbers, ages and elements. What comes from the API is text, and is only ever
// set as text: the page's policy refuses everything else.

const svgSpace = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((c) => c !== null && c !== undefined && c !== ""));
  return node;
}

// el makes an HTML element with attributes, listeners (onclick) and children.
export const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);

// svg makes an element of a drawing.
export const svg = (tag, attributes, ...children) => fill(document.createElementNS(svgSpace, tag), attributes, children);

export const byId = (id) => document.getElementById(id);

// text sets a node's text, and only if it differs: screen readers read what is set.
export function text(node, words) {
  if (node.textContent !== words) node.textContent = words;
}

const groups = new Intl.NumberFormat("en");
const raised = "⁰¹²³⁴⁵⁶⁷⁸⁹";

// count writes a number, given as one or as decimal digits. Of the 2⁶⁴ addresses
// of an IPv6 pool nobody reads the last digits.
export function count(n) {
  const digits = String(n);
  if (digits.length <= 15) return groups.format(Number(digits));
  const exponent = [...String(digits.length - 1)].map((d) => raised[d]).join("");
  return `${digits[0]}.${digits[1]} × 10${exponent}`;
}

// percent is a part of a whole, both as decimal digits.
export function percent(part, whole) {
  const all = BigInt(whole);
  if (all === 0n) return "0%";
  const tenths = Number((BigInt(part) * 1000n + all / 2n) / all);
  return `${tenths % 10 ? (tenths / 10).toFixed(1) : tenths / 10}%`;
}

export const share = (percents) => (percents >= 0.1 || percents === 0 ? `${+percents.toFixed(1)}%` : "<0.1%");

export const plural = (n, what) => `${count(n)} ${what}${Number(n) === 1 ? "" : "s"}`;

// clock is the program's clock, which may be another machine's than the browser's.
export const clock = {
  ahead: 0,
  now() {
    return Date.now() + this.ahead;
  },
};

// age is how long ago a time was, as kubectl writes it.
export function age(since) {
  if (!(since > 0)) return "unknown";
  const s = Math.max(0, Math.floor((clock.now() - since) / 1000));
  if (s < 120) return `${s}s`;
  if (s < 2 * 3600) return `${Math.floor(s / 60)}m`;
  if (s < 48 * 3600) return `${Math.floor(s / 3600)}h`;
  return `${Math.floor(s / 86400)}d`;
}

// moment is a time of today, or a date and a time.
export function moment(at) {
  const date = new Date(at);
  const time = date.toLocaleTimeString("en-GB");
  return Math.abs(clock.now() - at) < 86400e3 ? time : `${date.toISOString().slice(0, 10)} ${time}`;
}

// swatch is an owner's letter in its colour.
export const swatch = (key, hue) => el("span", { class: `swatch ${hueClass(hue)}`, "aria-hidden": "true" }, key);

// hueClass names a colour: 0 to 7, or one that is nobody's own.
export const hueClass = (hue) => (hue >= 0 ? `h${hue}` : { "-1": "others", "-2": "several", "-3": "nobody" }[hue]);
