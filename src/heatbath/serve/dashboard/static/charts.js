// Charts over time: uPlot in the colours of the page, with a legend in words that follows the pointer.

import { find, make } from "./dom.js";

const DASHES = [[], [6, 4], [2, 3]];

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/**
 * A chart in `box`. `series` are {name, hue, format}: hue a custom property; the first line is solid, the second dashed,
 * so that colour is not needed to tell them apart. Returns {show(columns, span)}: columns [t, ...] of Unix seconds.
 */
export function chart(box, { title, series, ceiling = null }) {
  const values = series.map(({ name }, i) => make("b", { "data-line": i, "aria-label": name }, "–"));
  const keys = series.map(({ name, hue }, i) =>
    make(
      "span",
      { class: "key" },
      make("i", { "data-hue": hue, "data-dash": i, "aria-hidden": "true" }),
      name,
      values[i],
    ),
  );
  const place = make("div", { class: "canvas", role: "img", "aria-label": title });
  box.replaceChildren(make("h3", {}, title), make("p", { class: "keys" }, ...keys), place);
  const state = { plot: null, columns: series.map(() => []), span: [0, 1] };

  const say = (index) => {
    const at = index ?? lastKnown(state.columns);
    series.forEach(({ format }, i) => (values[i].textContent = format(state.columns[i + 1]?.[at])));
    place.setAttribute("aria-label", `${title}: ${keys.map((one) => one.textContent).join(", ")}`);
  };
  const build = () => {
    state.plot?.destroy();
    state.plot = new globalThis.uPlot(options(place, series, ceiling, state, say), state.columns, place);
  };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", build);
  new ResizeObserver(() => {
    if (state.plot && place.clientWidth !== state.plot.width) {
      state.plot.setSize({ width: place.clientWidth, height: place.clientHeight });
    }
  }).observe(place);
  return {
    show(columns, span) {
      state.columns = columns;
      state.span = span;
      if (state.plot) state.plot.setData(columns);
      else build();
      if (find(":hover", place) === null) say(null);
    },
  };
}

function lastKnown(columns) {
  const last = (columns[0]?.length ?? 0) - 1;
  return last < 0 ? null : last;
}

function options(place, series, ceiling, state, say) {
  const soft = colour("--soft");
  const axis = { stroke: soft, font: "11px system-ui, sans-serif", ticks: { show: false } };
  const rule = { stroke: colour("--rule"), width: 1 };
  return {
    width: Math.max(place.clientWidth, 200),
    height: Math.max(place.clientHeight, 100),
    padding: [6, 18, 0, 0],
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 } },
    scales: {
      x: { range: () => state.span },
      y: { range: (_, __, high) => [0, ceiling ?? (high > 0 ? high * 1.08 : 1)] },
    },
    axes: [
      { ...axis, grid: { show: false }, size: 20, gap: 3, values: times },
      { ...axis, grid: rule, size: 50, values: (_, splits) => splits.map((value) => series[0].format(value, true)) },
    ],
    series: [
      {},
      ...series.map(({ hue }, i) => ({
        stroke: colour(hue),
        width: 1.6,
        dash: DASHES[i],
        points: { show: false },
        spanGaps: false,
      })),
    ],
    hooks: { setCursor: [(plot) => say(plot.cursor.idx)] },
  };
}

function times(_, splits, __, ___, step) {
  const form =
    step >= 86400 ? { day: "numeric", month: "short" } : { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
  if (step < 60) form.second = "2-digit";
  return splits.map((unix) => new Date(unix * 1000).toLocaleString([], form));
}
