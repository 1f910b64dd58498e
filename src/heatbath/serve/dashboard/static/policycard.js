// The policy: its rules and how often they matched, what was done with the choices, and the work of its energies.

import { json } from "./api.js";
import { find, make, number, percent, seconds } from "./dom.js";

const AGAIN = 10_000;
const SOON = 300;
const DONE = { allow: "given", warn: "with a warning", modify: "changed", deny: "withheld", hold: "sent to review" };

/** Fill the section where the server has a policy; returns a function to call when a request has ended. */
export function policy(section, governed) {
  section.hidden = find('a[href="#policy"]').hidden = !governed;
  if (!governed) return () => {};
  let waiting = null;
  const load = async () => {
    waiting = null;
    const state = await json("/page/policy").catch(() => null);
    if (state) render(section, state);
  };
  setInterval(() => document.hidden || load(), AGAIN);
  load();
  return () => (waiting ??= setTimeout(load, SOON));
}

function render(section, state) {
  find(".cards", section).replaceChildren(...cards(state).map(card));
  find("tbody", section).replaceChildren(...state.rules.map((rule) => row(rule, state)));
  const held = state.mode === "window" ? `Streams lag by ${state.window} characters` : "Choices are held until their verdict";
  find(".about", section).textContent = `${held}. Version ${state.version}.`;
}

function cards({ choices, problem, rules, tokens, work, faults, verdict_seconds, hold_seconds }) {
  const total = Object.values(choices).reduce((sum, n) => sum + n, 0);
  const parts = Object.keys(DONE)
    .filter((name) => choices[name])
    .map((name) => `${choices[name]} ${DONE[name]}`);
  const nats = Object.values(work).reduce((sum, n) => sum + n, 0);
  return [
    {
      hue: problem ? "melt" : "use",
      name: "rules",
      value: String(rules.length),
      more: problem ?? `as in the file; ${faults} faults`,
    },
    {
      hue: "curve",
      name: "withheld",
      value: percent(total ? (choices.deny ?? 0) / total : null),
      more: `of ${total} choices: ${parts.join(", ") || "none yet"}`,
    },
    {
      hue: "curve",
      name: "work",
      value: tokens ? `${number(nats / tokens, 3)} nats` : "–",
      more: `a token, over ${tokens} tokens`,
    },
    { hue: "curve", name: "held", value: seconds(hold_seconds), more: `a verdict takes ${seconds(verdict_seconds)}` },
  ];
}

function row(rule, { tokens }) {
  const work = rule.work === null ? "" : tokens ? number(rule.work, 3) : "0";
  const cells = [rule.id, rule.scopes.join(", "), rule.effect, rule.severity, rule.work === null ? rule.matches : "", work];
  return make("tr", { title: rule.description }, ...cells.map((text) => make("td", {}, String(text))));
}

const card = ({ hue, name, value, more }) =>
  make("li", { "data-hue": `--${hue}` }, make("b", {}, name), make("strong", {}, value), make("span", {}, more));
