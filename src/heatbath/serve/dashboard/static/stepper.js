// One step of an answer at a time: its tokens as a strip, the chosen one's ensemble as a ladder, and T to turn.

import { draw, find, make, number, percent } from "./dom.js";
import { curves, reweigh } from "./ensemble.js";
import { ladder, table } from "./ladder.js";
import { figure, onWidth, path } from "./plot.js";
import { legend, record, strip } from "./tokens.js";

const COLDEST = 0.1;
const HOTTEST = 3;

/** Wire what is to the right of the form. {append(steps), clear(), count()} */
export function stepper(section) {
  const parts = {
    ladder: find(".ladder", section),
    figures: find(".figures", section),
    curve: find(".curve", section),
    table: find(".levels table", section),
    record: find(".record", section),
    slider: find("[name=turn]", section),
    turned: find("output", section),
    note: find(".turn .note", section),
    bench: find(".bench", section),
  };
  find(".legend-place", section).append(legend());
  const state = { steps: [], at: null };
  const render = () => state.at !== null && renderStep(parts, state.steps[state.at]);
  const choose = (i) => {
    state.at = i;
    record(parts.record, i, state.steps[i].text, state.steps[i].ensemble.record ?? {});
    renderStep(parts, state.steps[i], (parts.table.dataset.step = String(i)));
  };
  const tokens = strip(find(".tokens", section), { name: "Tokens of the answer", onChoose: choose });
  parts.slider.addEventListener("input", render);
  find("[name=used]", section).addEventListener("click", () => turn(parts, used(state), render));
  find("[name=one]", section).addEventListener("click", () => turn(parts, 1, render));
  onWidth(parts.ladder, render);
  return {
    count: () => state.steps.length,
    clear() {
      Object.assign(state, { steps: [], at: null });
      tokens.clear();
      parts.bench.hidden = true;
    },
    append(steps) {
      const first = state.steps.length === 0;
      state.steps.push(...steps);
      tokens.append(steps);
      if (!first) return;
      parts.bench.hidden = false;
      parts.slider.value = String(used(state) ?? 1);
      tokens.choose(0);
    },
  };
}

const used = (state) => state.steps[state.at ?? 0]?.ensemble.record?.temperature;

function turn(parts, temperature, render) {
  if (typeof temperature !== "number") return;
  parts.slider.value = String(Math.min(Math.max(temperature, COLDEST), HOTTEST));
  render();
}

function renderStep(parts, step) {
  const known = step.ensemble.logZ !== null;
  parts.slider.disabled = !known;
  const temperature = known ? Number(parts.slider.value) : 1;
  const state = reweigh(step.ensemble, temperature);
  parts.turned.textContent = `T = ${temperature.toFixed(2)}`;
  parts.slider.setAttribute("aria-valuetext", `temperature ${temperature.toFixed(2)}`);
  const drawnAt = step.ensemble.record?.temperature;
  parts.note.textContent = known
    ? `drawn at T = ${number(drawnAt)}; any other T follows from the stored log Z, without the model`
    : "this answer came without log Z at the nodes, so that only T = 1 is known";
  ladder(parts.ladder, step.ensemble, state);
  parts.table.replaceChildren(make("caption", {}, `At T = ${temperature.toFixed(2)}`), ...table(step.ensemble, state));
  renderFigures(parts.figures, step, state);
  renderCurve(parts.curve, step.ensemble, state);
}

function renderFigures(box, step, state) {
  const drawn = step.ensemble.levels.findIndex((level) => level.drawn);
  const values = [
    ["p of the token drawn", percent(state.p[drawn])],
    ["entropy S", `${number(state.entropy)} nats`],
    ["heat capacity C", `${number(state.heatCapacity)} nats`],
    ["all other states", percent(state.rest)],
    ["mean energy above ground", `${number(state.meanEnergy)} nats`],
    ["log Z above ground", `${number(state.logZ)} nats`],
  ];
  box.replaceChildren(...values.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))));
}

function renderCurve(box, ensemble, state) {
  const points = curves(ensemble, COLDEST, HOTTEST);
  box.hidden = points.length === 0;
  if (box.hidden || !box.clientWidth) return;
  const high = Math.max(0.1, ...points.map((point) => Math.max(point.entropy, point.heatCapacity))) * 1.06;
  const shape = figure(box, {
    height: 150,
    x: [COLDEST, HOTTEST],
    y: [0, high],
    xLabel: "temperature T",
    yLabel: "nats",
    name: `Entropy and heat capacity of this step against temperature. At T = ${number(state.temperature)}: S ${number(state.entropy)}, C ${number(state.heatCapacity)}.`,
  });
  const line = (name) => path(points.map((point) => [shape.x(point.temperature), shape.y(point[name])]));
  const at = shape.x(state.temperature);
  shape.add(
    draw("line", { class: "cursor", x1: at, x2: at, y1: shape.plot[1], y2: shape.plot[3] }),
    draw("path", { class: "curve", d: line("entropy") }),
    draw("path", { class: "curve second", d: line("heatCapacity") }),
    ...[
      ["entropy", "S", "curve"],
      ["heatCapacity", "C", "second"],
    ].map(([name, letter, kind]) => tag(shape, points, name, letter, kind)),
  );
}

function tag(shape, points, name, letter, kind) {
  const last = points[points.length - 1];
  return draw(
    "text",
    { class: `letter ${kind}`, x: shape.plot[2] - 4, y: shape.y(last[name]) - 5, "text-anchor": "end" },
    letter,
  );
}
