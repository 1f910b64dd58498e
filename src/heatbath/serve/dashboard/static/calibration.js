// The calibration: whether it still holds, how often right answers came at each confidence, and how that is distributed.

import { json } from "./api.js";
import { draw, find, make, number, percent } from "./dom.js";
import { area, figure, onWidth, path } from "./plot.js";

const AGAIN = 10_000;
const SOON = 300;
const HEIGHT = 220;

/** Fill the section where the server has a calibrator; returns a function to call when a request has ended. */
export function calibration(section, calibrated) {
  section.hidden = find('a[href="#calibration"]').hidden = !calibrated;
  if (!calibrated) return () => {};
  const boxes = ["reliability", "histogram"].map((name) => find(`.${name}`, section));
  let state = null;
  let waiting = null;
  const render = () => state && boxes[0].clientWidth && renderAll(section, boxes, state);
  const load = async () => {
    waiting = null;
    state = await json("/page/calibration").catch(() => state);
    render();
  };
  boxes.forEach((box) => onWidth(box, render));
  setInterval(() => document.hidden || load(), AGAIN);
  load();
  return () => (waiting ??= setTimeout(load, SOON));
}

function renderAll(section, [left, right], state) {
  find(".verdict", section).replaceChildren(...cards(state).map(card));
  find(".about", section).textContent = about(state);
  const legends = [reliabilityKeys(), histogramKeys(state)];
  section.querySelectorAll(".keys").forEach((place, i) => place.replaceChildren(...legends[i].map(key)));
  drawReliability(left, state.reliability);
  drawHistogram(right, state);
}

const key = ([text, attributes]) =>
  make("span", { class: "key" }, make("i", { ...attributes, "aria-hidden": "true" }), text);

const LINE = { "data-hue": "--ink", "data-dash": 0 };

const reliabilityKeys = () => [
  ["share right, with a 95 % interval", {}],
  ["as it should be", LINE],
];

function histogramKeys({ distribution, threshold }) {
  const [now, before] = [distribution.counts, distribution.sample].map((counts) => shares(counts).total);
  return [
    [`answers: ${now}`, { class: "patch" }],
    before ? [`calibration: ${before}`, LINE] : null,
    threshold === null ? null : [`threshold: ${number(threshold)}`, { "data-hue": "--ink", "data-dash": 1 }],
  ].filter(Boolean);
}

function cards(state) {
  const { measured, abstaining, unmeasured, withheld, labels } = state;
  const evidence = Math.max(labels.peak ?? 0, state.distribution.peak ?? 0);
  return [
    {
      hue: state.stale ? "melt" : "use",
      name: "calibration",
      value: state.stale ? "does not hold" : "holds so far",
      more: state.stale ? state.reasons.join("; ") : `evidence against it: ${percent(evidence)} of an alarm`,
    },
    {
      hue: "curve",
      name: "abstention",
      value: percent(measured ? abstaining / measured : null),
      more: `of ${measured} answers with a confidence; ${withheld} withheld, ${unmeasured} without one`,
    },
    {
      hue: "curve",
      name: "labels",
      value: String(labels.count),
      more: `${labels.tested} answers tested, false alarms: at most ${percent(state.alpha)}`,
    },
  ];
}

const card = ({ hue, name, value, more }) =>
  make("li", { "data-hue": `--${hue}` }, make("b", {}, name), make("strong", {}, value), make("span", {}, more));

function about({ signals, settings, guarantee, created }) {
  const said = Object.entries(settings).map(([name, value]) => `${name} = ${value}`);
  return `By ${signals.join(", ")}, for ${said.join(", ")}, of ${created.slice(0, 10)}. Guarantee: ${guarantee}.`;
}

/** The share of right answers against the confidence, with intervals; the line is what a calibrated one has. */
function drawReliability(box, bins) {
  const known = bins.filter((bin) => bin.count);
  const words = known.map(
    (bin) => `confidence ${number(bin.confidence, 2)}: ${bin.right} of ${bin.count} right`,
  );
  const shape = figure(box, {
    height: HEIGHT,
    x: [0, 1],
    y: [0, 1],
    xLabel: "confidence",
    yLabel: "share right",
    name: `Reliability. ${words.join("; ") || "No label yet"}.`,
  });
  const line = [0, 1].map((value) => [shape.x(value), shape.y(value)]);
  shape.add(draw("path", { class: "always", d: path(line) }));
  for (const { confidence, share, interval } of known) {
    const x = shape.x(confidence);
    shape.add(
      draw("line", { class: "whisker", x1: x, x2: x, y1: shape.y(interval[0]), y2: shape.y(interval[1]) }),
      draw("circle", { class: "mean", r: 4, cx: x, cy: shape.y(share) }),
    );
  }
}

/** The distribution of confidence: of answers so far as an area, of the calibration as a line. */
function drawHistogram(box, { distribution, threshold }) {
  const [now, before] = [distribution.counts, distribution.sample].map(shares);
  const high = Math.max(0.05, ...now.values, ...before.values) * 1.08;
  const shape = figure(box, {
    height: HEIGHT,
    x: [0, 1],
    y: [0, high],
    xLabel: "confidence",
    yLabel: "share of answers",
    name: `Confidence of ${now.total} answers, and of ${before.total} of the calibration.`,
  });
  const top = steps(shape, now.values);
  const floor = [top[0], top[top.length - 1]].map(([x]) => [x, shape.y(0)]);
  shape.add(draw("path", { class: "now", d: area(top, floor) }));
  if (before.total) shape.add(draw("path", { class: "always", d: path(steps(shape, before.values)) }));
  if (threshold !== null) {
    const x = shape.x(threshold);
    shape.add(draw("line", { class: "cursor", x1: x, x2: x, y1: shape.plot[1], y2: shape.plot[3] }));
  }
}

function shares(counts) {
  const total = counts.reduce((sum, n) => sum + n, 0);
  return { total, values: counts.map((n) => (total ? n / total : 0)) };
}

const steps = (shape, values) =>
  values.flatMap((value, i) =>
    [i, i + 1].map((edge) => [shape.x(edge / values.length), shape.y(value)]),
  );
