// Elements are made of text nodes only: nothing that came from a model or a user is ever read as markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element with attributes (null leaves one out) and children (elements or texts). */
export function make(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** The same for SVG. */
export function draw(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export const find = (selector, root = document) => root.querySelector(selector);

/** A token's text with line ends, tabs and control characters made visible. */
export function shown(text) {
  return text
    .replace(/\r/g, "␍")
    .replace(/\t/g, "→\t")
    .replace(/\n/g, "↵\n")
    .replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f]/g, (c) => String.fromCharCode(0x2400 + c.charCodeAt(0)))
    .replace(/[\u007f-\u009f]/g, "�");
}

/** A token as a label of one line, quoted where it has spaces at its ends. */
export function label(text) {
  const line = text
    .replace(/\n/g, "↵")
    .replace(/\t/g, "→")
    .replace(/[\u0000-\u001f\u007f-\u009f]/g, "�");
  if (line === "") return "(empty)";
  return line.replace(/^ +| +$/g, (spaces) => "␣".repeat(spaces.length));
}

/** A number of about `digits` digits; a dash where there is none. */
export function number(value, digits = 3) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e7)) return value.toExponential(digits - 1).replace("-", "−");
  const places = size === 0 ? 0 : Math.max(0, digits - 1 - Math.floor(Math.log10(size)));
  return value.toFixed(Math.min(places, 6)).replace("-", "−");
}

/** A round number of an axis, without noughts that say nothing. */
export const mark = (value) => String(Number(value.toPrecision(4))).replace("-", "−");

/** Seconds in the unit that suits them. */
export function seconds(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (value < 1) return `${number(value * 1000)} ms`;
  return value < 120 ? `${number(value)} s` : `${number(value / 60)} min`;
}

/** A share as per cent. */
export const percent = (value) => (value === null || value === undefined ? "–" : `${number(100 * value)} %`);

/** A time of day, with the day if it was not today. */
export function clock(unix) {
  const then = new Date(unix * 1000);
  const time = then.toLocaleTimeString([], { hourCycle: "h23" });
  return then.toDateString() === new Date().toDateString() ? time : `${then.toLocaleDateString()} ${time}`;
}
