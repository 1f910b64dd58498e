// A text as tokens, coloured by entropy: the stronger the colour and the thicker the bar below, the more open it was.

import { make, number, shown } from "./dom.js";

export const HOTTEST = 6;

const NAMES = [
  "logprob",
  "logprob_at_temperature",
  "rank",
  "temperature",
  "entropy",
  "heat_capacity",
  "p_max",
  "energy",
  "ground",
  "log_z",
  "mean_energy",
  "variance",
  "kept_mass",
  "drawn_logprob",
];

/** Set how hot an element looks: 0 to 1 for 0 to `HOTTEST` nats; plain where the entropy is not known. */
export function heat(element, entropy) {
  const known = entropy !== null && entropy !== undefined && !Number.isNaN(entropy);
  element.classList.toggle("none", !known);
  if (known) element.style.setProperty("--heat", Math.min(Math.max(entropy / HOTTEST, 0), 1).toFixed(3));
}

/** The scale of the colours, in nats. */
export function legend() {
  const marks = Array.from({ length: HOTTEST + 1 }, (_, nats) => {
    const mark = make("span", { class: "token" }, nats === HOTTEST ? `${nats}+` : String(nats));
    heat(mark, nats);
    return mark;
  });
  return make("p", { class: "legend" }, "entropy of the step, nats ", ...marks);
}

/**
 * A strip of tokens in `box`: one is chosen by click, arrow keys, Home or End, and read by pointing at it. `onChoose`
 * takes the index of the chosen one, `onRead` that of the one pointed at or in focus. {append(tokens), choose(i), clear}
 */
export function strip(box, { name, onChoose = () => {}, onRead = () => {} }) {
  box.setAttribute("role", "listbox");
  box.setAttribute("aria-orientation", "horizontal");
  box.setAttribute("aria-label", name);
  const index = (target) => [...box.children].indexOf(target.closest(".token"));
  const choose = (i, focus = false) => {
    const chosen = box.children[i];
    if (!chosen) return;
    for (const token of box.querySelectorAll("[aria-selected=true], [tabindex='0']")) reach(token, false);
    reach(chosen, true);
    if (focus) chosen.focus();
    onChoose(i);
  };
  box.addEventListener("click", (event) => event.target.closest(".token") && choose(index(event.target), true));
  for (const kind of ["mouseover", "focusin"]) {
    box.addEventListener(kind, (event) => event.target.closest(".token") && onRead(index(event.target)));
  }
  box.addEventListener("keydown", (event) => {
    const to = moved(event.key, index(event.target), box.children.length);
    if (to === null) return;
    event.preventDefault();
    choose(to, true);
  });
  return {
    choose,
    append: (tokens) => box.append(...tokens.map((token, i) => piece(token, box.children.length + i === 0))),
    clear: () => box.replaceChildren(),
  };
}

function reach(token, chosen) {
  token.setAttribute("tabindex", chosen ? "0" : "-1");
  token.setAttribute("aria-selected", String(chosen));
}

function moved(key, at, count) {
  const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: count - 1 }[key];
  return to === undefined || at < 0 ? null : Math.min(Math.max(to, 0), count - 1);
}

function piece({ text, entropy }, first) {
  const token = make("span", {
    class: "token",
    role: "option",
    tabindex: first ? "0" : "-1",
    "aria-selected": "false",
  });
  token.textContent = shown(text);
  heat(token, entropy);
  return token;
}

/** The record of a token as names and values, in `box`. */
export function record(box, position, text, columns) {
  const rest = Object.keys(columns).filter((name) => !NAMES.includes(name) && typeof columns[name] === "number");
  const pairs = [...NAMES.filter((name) => typeof columns[name] === "number"), ...rest].map((name) => [
    name,
    figure(columns[name]),
  ]);
  box.replaceChildren(
    ...[["token", JSON.stringify(text)], ["position", String(position)], ...pairs].map(([name, value]) =>
      make("div", {}, make("dt", {}, name), make("dd", {}, value)),
    ),
  );
}

const figure = (value) => (Number.isInteger(value) ? String(value) : number(value, 5));

/** Row `i` of columns {name: [...]}: {name: value}. */
export const rowOf = (columns, i) =>
  Object.fromEntries(
    Object.entries(columns)
      .filter(([, values]) => Array.isArray(values))
      .map(([name, values]) => [name, values[i]]),
  );

/** A strip with its legend and the record of the token that is pointed at, for columns that hold `text`. */
export function reader(columns, name) {
  const text = make("div", { class: "tokens" });
  const box = make("dl", {
    class: "record",
    role: "status",
    "aria-live": "polite",
    "aria-label": "Record of the token",
  });
  const tokens = columns.text.map((piece, i) => ({ text: piece, entropy: columns.entropy?.[i] }));
  const read = (i) => record(box, i, columns.text[i], rowOf(columns, i));
  strip(text, { name, onChoose: read, onRead: read }).append(tokens);
  if (tokens.length) read(0);
  return make("div", { class: "reader" }, legend(), text, box);
}
