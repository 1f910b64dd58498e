// The phase map: one curve over temperature, its edges and the recommended range, and where requests lie on it.

import { draw, find, make, number } from "./dom.js";
import { area, figure, onWidth, path } from "./plot.js";

const KEPT = 200;
const SURE = 1.96;
const RUG = 26;

/** Fill the section; returns a function that takes the temperature of each request, or null. */
export function phaseMap(section, map, temperatures) {
  const used = temperatures.slice(-KEPT);
  if (!map) {
    find(".chart", section).hidden = true;
    find(".verdict", section).hidden = true;
    find(".missing", section).hidden = false;
    return () => {};
  }
  find(".verdict", section).replaceChildren(...verdict(map).map(card));
  const chooser = find("select", section);
  chooser.replaceChildren(...map.curves.map((curve) => make("option", { value: curve.name }, curve.title)));
  chooser.value = map.curves.some((curve) => curve.name === "entropy") ? "entropy" : map.curves[0].name;
  const box = find(".plot", section);
  const words = find(".keys", section);
  const render = () => {
    if (!box.clientWidth) return;
    const curve = map.curves.find((one) => one.name === chooser.value);
    render.shape = drawMap(box, map, curve, used);
    words.textContent = summary(curve, used);
  };
  chooser.addEventListener("change", render);
  onWidth(box, render);
  box.addEventListener("pointermove", (event) => point(event, box, render.shape, map, chooser.value, words));
  box.addEventListener("pointerleave", render);
  return (temperature) => {
    if (typeof temperature !== "number") return;
    used.push(temperature);
    if (used.length > KEPT) used.shift();
    render();
  };
}

function verdict(map) {
  const spanned = (interval) => (interval ? `${number(interval[0])} to ${number(interval[1])}` : "no interval");
  const edges = map.edges.map((edge) => ({
    hue: edge.name,
    name: edge.name,
    value: edgeValue(edge),
    more: edge.temperature === null ? edge.verdict : `${spanned(edge.interval)} · ${edge.verdict}`,
  }));
  const advice = {
    hue: "use",
    name: "recommended",
    value: map.range ? `T = ${spanned(map.range)}` : "no range",
    more: map.reason,
  };
  return [...edges.slice(0, 1), advice, ...edges.slice(1)];
}

/** The temperature of an edge; only its interval where the estimators disagree. */
function edgeValue(edge) {
  if (edge.temperature !== null) return `T = ${number(edge.temperature)}`;
  return edge.interval ? `T = ${number(edge.interval[0])} to ${number(edge.interval[1])}` : "no edge found";
}

const card = ({ hue, name, value, more }) =>
  make("li", { "data-hue": `--${hue}` }, make("b", {}, name), make("strong", {}, value), make("span", {}, more));

function summary(curve, used) {
  const counts = used.length ? `${used.length} recent temperatures, median ${number(median(used))}` : "no request yet";
  return `${curve.unit} · band: 95 % · marks below: ${counts}`;
}

const median = (values) => values.slice().sort((a, b) => a - b)[Math.floor(values.length / 2)];

function drawMap(box, map, curve, used) {
  const { temperature, value, stderr } = curve;
  const [low, high] = [temperature[0], temperature[temperature.length - 1]];
  const upper = value.map((v, i) => v + SURE * stderr[i]);
  const lower = value.map((v, i) => v - SURE * stderr[i]);
  const known = [...value, ...curve.points.value].filter(Number.isFinite);
  const margin = 0.08 * (Math.max(...known) - Math.min(...known)) || 1;
  const shape = figure(box, {
    height: 330,
    x: [low, high],
    y: [Math.min(...known) - margin, Math.max(...known) + margin],
    xLabel: "temperature T",
    yLabel: curve.unit,
    name: described(map, curve, used),
    edge: { bottom: 34 + RUG, top: 24, left: 54 },
  });
  const line = (values) => values.map((v, i) => [shape.x(temperature[i]), shape.y(v)]);
  shape.add(
    ...bands(shape, map, low, high),
    draw("path", { class: "band", d: area(line(upper), line(lower)) }),
    ...curve.points.x.map((x, i) =>
      draw("circle", { class: "point", r: 2, cx: shape.x(x), cy: shape.y(curve.points.value[i]) }),
    ),
    draw("path", { class: "curve", d: path(line(value)) }),
    ...rug(shape, used, low, high),
    draw("g", { class: "pointer" }),
  );
  return shape;
}

function bands(shape, map, low, high) {
  const clip = (t) => shape.x(Math.min(Math.max(t, low), high));
  const [, top, , bottom] = shape.plot;
  const stripe = (kind, [from, to]) =>
    draw("rect", {
      class: `stripe ${kind}`,
      x: clip(from),
      width: Math.max(clip(to) - clip(from), 1),
      y: top,
      height: bottom - top,
    });
  const named = (kind, at, words) =>
    draw("text", { class: `edge ${kind}`, x: clip(at), y: top - 8, "text-anchor": "middle" }, words);
  const edges = map.edges
    .filter((edge) => edge.temperature !== null || edge.interval)
    .flatMap((edge) => [
      edge.interval && stripe(edge.name, edge.interval),
      edge.temperature !== null &&
        draw("line", {
          class: `edge ${edge.name}`,
          x1: clip(edge.temperature),
          x2: clip(edge.temperature),
          y1: top,
          y2: bottom,
        }),
      named(edge.name, edge.temperature ?? (edge.interval[0] + edge.interval[1]) / 2, edge.name),
    ]);
  const range = map.range ? [stripe("use", map.range), named("use", (map.range[0] + map.range[1]) / 2, "use")] : [];
  return [...range, ...edges].filter(Boolean);
}

/** A mark for each temperature in use, higher the more requests use it; those beyond the map stand at its ends. */
function rug(shape, used, low, high) {
  const counts = new Map();
  for (const t of used) {
    const at = Math.min(Math.max(Number(t.toFixed(2)), low), high);
    counts.set(at, (counts.get(at) ?? 0) + 1);
  }
  const most = Math.max(1, ...counts.values());
  const base = shape.plot[3] + 20 + RUG - 4;
  const words = draw("text", { class: "caption", x: 0, y: base }, "in use");
  return [
    words,
    ...[...counts].map(([t, n]) => {
      const tall = 6 + ((RUG - 8) * n) / most;
      const title = draw("title", {}, `T = ${number(t)}: ${n} of the last ${used.length}`);
      return draw("rect", { class: "used", x: shape.x(t) - 2.5, y: base - tall, width: 5, height: tall }, title);
    }),
  ];
}

function described(map, curve, used) {
  const edges = verdict(map).map(({ name, value }) => `${name}: ${value}`);
  return `${curve.title} against temperature. ${edges.join("; ")}. ${summary(curve, used)}.`;
}

function point(event, box, shape, map, name, words) {
  if (!shape) return;
  const curve = map.curves.find((one) => one.name === name);
  const share = (event.clientX - box.getBoundingClientRect().left - shape.plot[0]) / (shape.plot[2] - shape.plot[0]);
  const i = Math.min(Math.max(Math.round(share * (curve.temperature.length - 1)), 0), curve.temperature.length - 1);
  const [t, value] = [curve.temperature[i], curve.value[i]];
  const at = { x1: shape.x(t), x2: shape.x(t), y1: shape.plot[1], y2: shape.plot[3] };
  find(".pointer", box).replaceChildren(draw("line", { class: "cursor", ...at }));
  words.textContent = `T = ${number(t)}: ${number(value, 4)} ± ${number(SURE * curve.stderr[i], 2)} ${curve.unit}`;
}
