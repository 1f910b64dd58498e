// The review queue in short: what waits, since when, and what was decided.

import { json } from "./api.js";
import { find, make, seconds } from "./dom.js";

const AGAIN = 5_000;
const WORDS = { approve: "approved", edit: "edited", reject: "rejected", timeout: "timed out", deletion: "deleted" };

/** Fill the section where the server has a queue. */
export function review(section, reviewed) {
  section.hidden = find('a[href="#review"]').hidden = !reviewed;
  if (!reviewed) return;
  const load = async () => {
    const state = await json("/page/review").catch(() => null);
    if (state) find(".cards", section).replaceChildren(...cards(state).map(card));
  };
  setInterval(() => document.hidden || load(), AGAIN);
  load();
}

function cards({ pending, locked, oldest_seconds: oldest, decisions }) {
  const total = Object.values(decisions).reduce((sum, n) => sum + n, 0);
  const parts = Object.keys(WORDS)
    .filter((name) => decisions[name])
    .map((name) => `${decisions[name]} ${WORDS[name]}`);
  return [
    { hue: pending ? "order" : "use", name: "pending", value: String(pending), more: `${locked} taken by reviewers` },
    { hue: "curve", name: "oldest", value: seconds(oldest), more: "has waited for a decision" },
    { hue: "curve", name: "decisions", value: String(total), more: parts.join(", ") || "none so far" },
  ];
}

const card = ({ hue, name, value, more }) =>
  make("li", { "data-hue": `--${hue}` }, make("b", {}, name), make("strong", {}, value), make("span", {}, more));
