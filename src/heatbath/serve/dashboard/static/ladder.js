// The energy ladder of one step: levels at their energy above the ground state, each as wide as it is probable.

import { draw, label, make, number, percent } from "./dom.js";
import { figure } from "./plot.js";

const HEIGHT = 430;
const LINE = 17;
const LABELS = 0.46;

/** Draw the ensemble as `reweigh` gave it; `state` null says in words that this temperature is not known. */
export function ladder(box, ensemble, state) {
  const ceiling = Math.max(...ensemble.levels.map((level) => level.excess), 0.5);
  const top = ceiling * 1.14;
  const room = Math.min(260, Math.max(box.clientWidth, 240) * LABELS);
  const shape = figure(box, {
    height: HEIGHT,
    x: [0, 1],
    y: [-0.03 * ceiling, top],
    name: described(ensemble, state),
    yLabel: "energy above the ground state, nats",
    xLabel: null,
    edge: { right: room, bottom: 30, top: 22 },
  });
  shape.add(draw("text", { class: "caption", x: shape.plot[2], y: HEIGHT - 2, "text-anchor": "end" }, "probability"));
  const rows = ensemble.levels.map((level, i) => ({ ...level, p: state.p[i], at: shape.y(level.excess) }));
  const rest = { rest: true, text: "all other states", p: state.rest, at: shape.plot[1] + 6 };
  const places = spread([rest, ...rows.slice().reverse()], shape);
  shape.add(...places.flatMap((row) => level(shape, row)));
}

/** Where each label goes: at its level, pushed apart to a line each, from the top down. */
function spread(rows, shape) {
  const low = shape.plot[1] - 6;
  const high = shape.plot[3] + 8;
  const placed = rows.map((row) => ({ ...row, to: row.at }));
  placed.forEach((row, i) => (row.to = Math.max(row.to, i ? placed[i - 1].to + LINE : low)));
  for (let i = placed.length - 1; i >= 0; i--) {
    placed[i].to = Math.min(placed[i].to, i === placed.length - 1 ? high : placed[i + 1].to - LINE);
  }
  return placed;
}

function level(shape, row) {
  const kind = row.rest ? "rest" : row.drawn ? "drawn" : "state";
  const [left, , right] = shape.plot;
  const wide = Math.max(shape.x(row.p) - left, 1.5);
  const end = shape.width - 4;
  const share = percent(row.p);
  const room = Math.max(Math.floor((end - right - 30 - share.length * 6.6) / 7.3), 4);
  const rest = room < row.text.length * 0.8 ? "all others" : row.text;
  const name = row.rest ? rest : cut(`${row.drawn ? "▸ " : ""}${label(row.text)}`, room);
  return [
    draw("line", { class: "track", x1: left, x2: right, y1: row.at, y2: row.at }),
    draw("rect", { class: `level ${kind}`, x: left, width: wide, y: row.at - 2.5, height: 5 }),
    draw("path", { class: "leader", d: `M${right + 1} ${row.at}L${right + 14} ${row.to}h4` }),
    draw("text", { class: `name ${kind}`, x: right + 22, y: row.to + 4 }, name),
    draw("text", { class: "share", x: end, y: row.to + 4, "text-anchor": "end" }, share),
  ];
}

const cut = (text, room) => ([...text].length > room ? `${[...text].slice(0, room - 1).join("")}…` : text);

function described(ensemble, state) {
  const first = ensemble.levels.slice(0, 3).map((level, i) => `${label(level.text)} ${percent(state.p[i])}`);
  const drawn = ensemble.levels.find((level) => level.drawn);
  return (
    `Energy ladder at T = ${number(state.temperature)}. Most probable: ${first.join(", ")}. ` +
    `Drawn: ${drawn ? label(drawn.text) : "–"}. All other states: ${percent(state.rest)}.`
  );
}

/** The same as rows of a table. */
export function table(ensemble, state) {
  const head = ["state", "energy, nats", "probability"].map((name) => make("th", { scope: "col" }, name));
  const rows = ensemble.levels.map((level, i) =>
    make(
      "tr",
      level.drawn ? { class: "drawn" } : {},
      make("td", {}, `${level.drawn ? "▸ " : ""}${label(level.text)}`),
      make("td", {}, number(level.excess, 4)),
      make("td", {}, percent(state.p[i])),
    ),
  );
  const rest = make(
    "tr",
    {},
    make("td", {}, "all other states"),
    make("td", {}, `≥ ${number(ensemble.ceiling, 4)}`),
    make("td", {}, percent(state.rest)),
  );
  return [make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows, rest)];
}
