// Traffic and latency: figures of now, and charts of the last minutes (from the feed) or days (from what is stored).

import { json } from "./api.js";
import { chart } from "./charts.js";
import { find, make, mark, number, percent, seconds } from "./dom.js";

export const COLUMNS = [
  "t",
  "requests",
  "tokens",
  "errors",
  "running",
  "waiting",
  "first_p50",
  "first_p95",
  "each_p50",
  "each_p95",
  "prefix",
];
const LIVE = 300;
const AGAIN = 60_000;

const rate = (value, short) => (short ? mark(value) : `${number(value)} /s`);
const count = (value, short) => (short ? mark(value) : number(value));
const share = (value, short) => (short ? `${mark(100 * value)} %` : percent(value));
const time = (value, short) => {
  if (!short) return seconds(value);
  return value === 0 ? "0" : value < 1 ? `${mark(1000 * value)} ms` : `${mark(value)} s`;
};

const CHARTS = [
  ["Tokens written", { tokens: ["tokens", "--curve", rate] }],
  ["Requests", { requests: ["requests", "--curve", rate], errors: ["errors", "--melt", rate] }],
  ["Requests in work", { running: ["running", "--curve", count], waiting: ["waiting", "--turn", count] }],
  ["Time to first token", { first_p50: ["p50", "--curve", time], first_p95: ["p95", "--melt", time] }],
  ["Time per token", { each_p50: ["p50", "--curve", time], each_p95: ["p95", "--melt", time] }],
  ["Prompt tokens from the prefix cache", { prefix: ["share", "--use", share] }, 1],
];

const HISTORY = {
  true: "Means of the stored minutes.",
  false: "The storage cannot be read: only what this process remembers is shown.",
};

const FIGURES = [
  ["Requests", (now) => [`${number(now.requests)} /s`, `${now.totals.requests} since the start`]],
  ["Tokens", (now) => [`${number(now.tokens)} /s`, `${now.totals.tokens} since the start`]],
  ["In work", (now) => [number(now.running), `${number(now.waiting)} waiting`]],
  ["First token, p50", (now) => [seconds(now.first_p50), `p95 ${seconds(now.first_p95)}`]],
  ["Each token, p50", (now) => [seconds(now.each_p50), `p95 ${seconds(now.each_p95)}`]],
  ["Errors", (now) => [String(now.totals.errors), `${now.totals.refused} turned away`]],
  ["Prefix cache", (now) => [percent(now.prefix), "of prompt tokens"]],
];

/** Fill the section; `recent` are the columns of the last minutes. Returns a function that takes each tick. */
export function traffic(section, recent) {
  const figures = FIGURES.map(([name, read]) => ({
    read,
    value: make("dd", {}, "–"),
    more: make("dd", { class: "more" }, ""),
  }));
  find(".figures", section).replaceChildren(
    ...figures.map(({ value, more }, i) => make("div", {}, make("dt", {}, FIGURES[i][0]), value, more)),
  );
  const boxes = CHARTS.map(([title, lines, ceiling]) => {
    const box = make("figure", { class: "chart" });
    find(".charts", section).append(box);
    const series = Object.values(lines).map(([name, hue, format]) => ({ name, hue, format }));
    return { names: Object.keys(lines), chart: chart(box, { title, series, ceiling }) };
  });
  const state = { live: recent, stored: null, hours: 0 };
  const render = () => renderAll(boxes, state);
  ranges(section, state, render);
  render();
  return (tick) => {
    figures.forEach(({ read, value, more }) => ([value.textContent, more.textContent] = read(tick)));
    COLUMNS.forEach((name) => state.live[name].push(tick[name] ?? null));
    if (state.live.t.length > LIVE) COLUMNS.forEach((name) => state.live[name].shift());
    if (state.hours === 0) render();
  };
}

function renderAll(boxes, state) {
  const data = state.hours ? state.stored : state.live;
  if (!data) return;
  const now = state.hours ? Date.now() / 1000 : (data.t[data.t.length - 1] ?? Date.now() / 1000);
  const span = [now - (state.hours ? state.hours * 3600 : LIVE), now];
  for (const { names, chart } of boxes) chart.show([data.t, ...names.map((name) => data[name])], span);
}

function ranges(section, state, render) {
  const note = find(".note", section);
  const choose = async (hours) => {
    state.hours = hours;
    note.textContent = hours ? "" : "The last five minutes, second by second.";
    if (!hours) return render();
    try {
      state.stored = await json(`/page/history?hours=${hours}`);
    } catch (error) {
      note.textContent = error.message;
      return;
    }
    if (state.hours !== hours) return;
    const known = state.stored.t.length;
    note.textContent = known ? HISTORY[state.stored.stored] : "Nothing is known of this range yet.";
    render();
  };
  for (const input of section.querySelectorAll("input[name=range]")) {
    input.addEventListener("change", () => choose(Number(input.value)));
  }
  setInterval(() => state.hours && !document.hidden && choose(state.hours), AGAIN);
}
