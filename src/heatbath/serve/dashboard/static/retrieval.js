// Documents: how often a search finds some, how much passages support answers, and what was cited last.

import { json } from "./api.js";
import { draw, find, make, mark, number, percent } from "./dom.js";
import { area, figure, onWidth } from "./plot.js";

const AGAIN = 10_000;
const SOON = 300;
const HEIGHT = 220;

/** Fill the section where the server has indexes; returns a function to call when a request has ended. */
export function retrieval(section, retrieves) {
  section.hidden = find('a[href="#retrieval"]').hidden = !retrieves;
  if (!retrieves) return () => {};
  const box = find(".support", section);
  let state = null;
  let waiting = null;
  const render = () => state && box.clientWidth && renderAll(section, box, state);
  const load = async () => {
    waiting = null;
    state = await json("/page/retrieval").catch(() => state);
    render();
  };
  onWidth(box, render);
  setInterval(() => document.hidden || load(), AGAIN);
  load();
  return () => (waiting ??= setTimeout(load, SOON));
}

function renderAll(section, box, state) {
  find(".verdict", section).replaceChildren(...cards(state).map(card));
  drawSupport(box, state);
  const last = state.last.map(citation);
  const none = make("li", {}, "nothing cited yet");
  find(".citations", section).replaceChildren(...(last.length ? last : [none]));
}

function cards(state) {
  const { searches, hit_rate, untriggered, supported, unsupported, refused, unknown } = state;
  const claims = supported + unsupported;
  return [
    {
      hue: "curve",
      name: "hit rate",
      value: percent(hit_rate),
      more: `of ${searches} searches; ${untriggered} requests without one`,
    },
    {
      hue: "use",
      name: "supported",
      value: percent(claims ? supported / claims : null),
      more: `of ${claims} claims by ${number(state.threshold, 2)} nats or more`,
    },
    {
      hue: refused + unknown ? "melt" : "use",
      name: "refused citations",
      value: String(refused),
      more: `written without support; ${unknown} of passages that were not shown`,
    },
  ];
}

const card = ({ hue, name, value, more }) =>
  make("li", { "data-hue": `--${hue}` }, make("b", {}, name), make("strong", {}, value), make("span", {}, more));

/** The histogram of supports, a bin as wide as any other; the line is at zero. */
function drawSupport(box, { edges, histogram }) {
  const total = histogram.reduce((sum, n) => sum + n, 0);
  const values = histogram.map((n) => (total ? n / total : 0));
  const bins = values.length;
  const shape = figure(box, {
    height: HEIGHT,
    x: [0, bins],
    y: [0, Math.max(0.05, ...values) * 1.08],
    xTicks: edges.map((edge, i) => [i + 1, mark(edge)]),
    xLabel: "support of a claim by a passage, nats",
    yLabel: "share",
    name: `Support of ${total} pairs of a claim and a passage.`,
  });
  const top = values.flatMap((value, i) => [i, i + 1].map((edge) => [shape.x(edge), shape.y(value)]));
  const floor = [top[0], top[top.length - 1]].map(([x]) => [x, shape.y(0)]);
  shape.add(draw("path", { class: "now", d: area(top, floor) }));
  const zero = shape.x(edges.indexOf(0) + 1);
  shape.add(draw("line", { class: "cursor", x1: zero, x2: zero, y1: shape.plot[1], y2: shape.plot[3] }));
}

function citation({ claim, number: shown, support, written, supported, document, title, text }) {
  const verdict = supported ? "supports" : "refused";
  const source = written ? `written [${shown}]` : `passage ${shown}, not written`;
  return make(
    "li",
    { "data-kind": verdict },
    make("p", {}, make("strong", {}, `${verdict}, ${number(support)} nats`), ` · ${source} · ${document}`),
    make("blockquote", {}, claim),
    make("details", {}, make("summary", {}, title), make("p", { class: "passage" }, text)),
  );
}
