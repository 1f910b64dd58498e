// Axes and scales of the small figures drawn as SVG; sizes are CSS pixels.

import { draw, mark } from "./dom.js";

const EDGE = { left: 52, right: 12, top: 10, bottom: 34 };

/** About `count` round numbers from low to high. */
export function ticks(low, high, count = 5) {
  if (!(high > low)) return [low];
  const raw = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const far = (unit) => Math.abs(Math.log((unit * power) / raw));
  const step = power * [1, 2, 5, 10].reduce((best, unit) => (far(unit) < far(best) ? unit : best));
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

/**
 * An empty figure in `box`, as wide as it: {svg, x, y, add, plot}. `x` and `y` map values to pixels; `add` puts
 * elements in; `plot` is the rectangle [left, top, right, bottom]. `xTicks` are [value, words].
 */
export function figure(box, { height, x, y, xLabel, yLabel, name, edge = {}, xTicks = null }) {
  const around = { ...EDGE, ...edge };
  const width = Math.max(box.clientWidth, 240);
  const plot = [around.left, around.top, width - around.right, height - around.bottom];
  const across = (value) => plot[0] + ((value - x[0]) / (x[1] - x[0])) * (plot[2] - plot[0]);
  const upward = (value) => plot[3] - ((value - y[0]) / (y[1] - y[0])) * (plot[3] - plot[1]);
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": name });
  const add = (...elements) => svg.append(...elements.filter(Boolean));
  const shape = { svg, x: across, y: upward, add, plot, width, height };
  add(
    ...sides(shape, xTicks ?? worded(...x, Math.max(3, (plot[2] - plot[0]) / 80)), y),
    ...captions(shape, xLabel, yLabel),
  );
  box.replaceChildren(svg);
  return shape;
}

/** Ticks with their words, all of as many decimals. */
function worded(low, high, count) {
  const values = ticks(low, high, count);
  const places = Math.max(...values.map((value) => (mark(value).split(".")[1] ?? "").length));
  return values.map((value) => [value, value.toFixed(places).replace("-", "−")]);
}

function sides({ plot, x: across, y: upward }, xTicks, y) {
  const below = xTicks.map(([value, words]) =>
    draw("text", { x: across(value), y: plot[3] + 15, class: "tick", "text-anchor": "middle" }, words),
  );
  const beside = worded(...y, 4).flatMap(([value, words]) => [
    draw("line", { x1: plot[0], x2: plot[2], y1: upward(value), y2: upward(value), class: "grid" }),
    draw("text", { x: plot[0] - 6, y: upward(value) + 4, class: "tick", "text-anchor": "end" }, words),
  ]);
  const base = draw("line", { x1: plot[0], x2: plot[2], y1: plot[3], y2: plot[3], class: "axis" });
  return [...beside, base, ...below];
}

function captions({ plot, height }, xLabel, yLabel) {
  const middle = (plot[1] + plot[3]) / 2;
  return [
    xLabel && draw("text", { x: plot[2], y: height - 4, class: "caption", "text-anchor": "end" }, xLabel),
    yLabel &&
      draw(
        "text",
        { transform: `translate(11 ${middle}) rotate(-90)`, class: "caption", "text-anchor": "middle" },
        yLabel,
      ),
  ];
}

/** The path through points [x, y] in pixels; a gap where one is not finite. */
export function path(points) {
  let pen = "M";
  let text = "";
  for (const [x, y] of points) {
    const known = Number.isFinite(x) && Number.isFinite(y);
    if (known) text += `${pen}${x.toFixed(1)} ${y.toFixed(1)}`;
    pen = known ? "L" : "M";
  }
  return text;
}

/** The closed path between two lines of points. */
export const area = (upper, lower) => `${path([...upper, ...lower.slice().reverse()])}Z`;

/** Call `render` now and whenever the width of `box` changes. */
export function onWidth(box, render) {
  let before = 0;
  new ResizeObserver(() => {
    if (box.clientWidth !== before) {
      before = box.clientWidth;
      render();
    }
  }).observe(box);
}
