// Distributions of what was decoded: the last minute as an area, the last day as a line.

import { json } from "./api.js";
import { draw, find, make, number } from "./dom.js";
import { area, figure, onWidth, path } from "./plot.js";

const AGAIN = 60_000;
const PANELS = [
  ["surprisal", "Surprisal", "−log p of the token drawn, nats"],
  ["entropy", "Entropy", "S of the step, nats"],
  ["heat_capacity", "Heat capacity", "C of the step, nats"],
  ["log_z_centred", "log Z above the ground state", "log Z + βE₀ of the step, nats"],
];
const STEP = 1.5;
const TICKS = [0.01, 0.1, 1, 10].map((value) => [Math.log10(value), value === 0.01 ? "≤ 0.01" : String(value)]);

/**
 * Fill the section; `nats` are the upper edges of the bins, the first of `models` is the engine's own. Returns a function
 * that takes {model: {name: {counts, mean}}} of the last minute.
 */
export function distributions(section, { nats, models }) {
  const chooser = find("select", section);
  const panels = PANELS.map(([name, title, unit]) => {
    const box = make("div", { class: "plot" });
    const said = make("p", { class: "keys" }, "nothing decoded yet");
    find(".panels", section).append(make("figure", { class: "chart" }, make("h3", {}, title), said, box));
    return { name, title, unit, box, said };
  });
  const state = { nats, minute: {}, day: {} };
  const names = () => [...new Set([models[0], ...Object.keys(state.day), ...Object.keys(state.minute)])];
  const render = () => panels.forEach((panel) => renderPanel(panel, chooser.value, state));
  chooser.addEventListener("change", render);
  panels.forEach((panel) => onWidth(panel.box, render));
  const remember = async () => {
    state.day = (await json("/page/history?hours=24").catch(() => state)).distributions ?? state.day;
    offer(chooser, names());
    render();
  };
  remember();
  setInterval(() => document.hidden || remember(), AGAIN);
  return (minute) => {
    state.minute = minute;
    offer(chooser, names());
    render();
  };
}

function offer(chooser, models) {
  const before = [...chooser.options].map((option) => option.value);
  if (models.join("\n") === before.join("\n")) return;
  const chosen = chooser.value;
  chooser.replaceChildren(...models.map((model) => make("option", { value: model }, model)));
  if (models.includes(chosen)) chooser.value = chosen;
}

function renderPanel({ name, title, unit, box, said }, model, { nats, minute, day }) {
  const [lately, all] = [minute, day].map((models) => shares(models[model]?.[name], nats.length + 1));
  if (!box.clientWidth || (!lately.total && !all.total)) return;
  const words = [
    ["last minute", lately],
    ["last day", all],
  ].map(([span, { mean, total }]) =>
    total ? `${span}: mean ${number(mean)}, ${total.toLocaleString("en")} tokens` : `${span}: nothing`,
  );
  said.replaceChildren(
    make("span", { class: "key" }, make("i", { class: "patch", "aria-hidden": "true" }), words[0]),
    make("span", { class: "key" }, make("i", { "data-hue": "--ink", "data-dash": 0, "aria-hidden": "true" }), words[1]),
  );
  const places = [...nats, nats[nats.length - 1] * STEP].map(Math.log10);
  places.unshift(places[0] - Math.log10(STEP));
  const high = Math.max(0.05, ...all.values, ...lately.values) * 1.08;
  const shape = figure(box, {
    height: 170,
    x: [places[0], places[places.length - 1]],
    y: [0, high],
    xLabel: unit,
    yLabel: "share of tokens",
    name: `${title} of ${model}. ${words.join("; ")}.`,
    xTicks: TICKS,
  });
  const top = steps(shape, places, lately.values);
  const floor = [
    [top[0][0], shape.y(0)],
    [top[top.length - 1][0], shape.y(0)],
  ];
  shape.add(draw("path", { class: "now", d: area(top, floor) }));
  if (all.total) shape.add(draw("path", { class: "always", d: path(steps(shape, places, all.values)) }));
}

/** The share of each bin, the mean, and how many there are. */
function shares(histogram, bins) {
  const { counts, mean } = histogram ?? { counts: new Array(bins).fill(0), mean: null };
  const total = counts.reduce((before, n) => before + n, 0);
  return { total, mean, values: counts.map((n) => (total ? n / total : 0)) };
}

const steps = (shape, edges, values) =>
  values.flatMap((value, i) => [
    [shape.x(edges[i]), shape.y(value)],
    [shape.x(edges[i + 1]), shape.y(value)],
  ]);
