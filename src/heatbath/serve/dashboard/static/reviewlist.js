// The list of items: pending ones by priority and age, or decided ones.

import { clock, find, make, seconds } from "./dom.js";

const WORDS = { approve: "approved", edit: "edited", reject: "rejected" };

/** Fill the list; `choose` is called with the item that is clicked. */
export function showList(section, page, { current, choose }) {
  const pending = page.data.every((item) => item.status === "pending");
  find(".empty", section).hidden = page.data.length > 0;
  find(".more", section).hidden = page.next === null;
  const list = find(".items", section);
  const focused = list.contains(document.activeElement) ? document.activeElement.dataset.id : null;
  list.replaceChildren(...page.data.map((item) => entry(item, { current, choose, pending })));
  if (focused) find(`[data-id="${CSS.escape(focused)}"]`, list)?.focus();
}

function entry(item, { current, choose, pending }) {
  const age = seconds(Math.max(0, Date.now() / 1000 - item.created_at));
  return make(
    "li",
    {},
    make(
      "button",
      { type: "button", "data-id": item.id, "aria-current": String(item.id === current), onclick: () => choose(item) },
      make("span", { class: item.rules.length ? "from" : "from random" }, origin(item)),
      make("span", { class: "when" }, pending ? age : clock(item.decision.decided_at)),
      make("span", { class: "first" }, item.text === null ? "(erased)" : item.text.slice(0, 200).replace(/\s+/g, " ")),
      make("span", { class: "whose" }, pending ? `priority ${item.priority} · ${item.model}` : verdict(item)),
      make("span", { class: "when" }, pending && item.locked_by ? `taken by ${item.locked_by}` : ""),
    ),
  );
}

/** The rules that sent an item, or that chance did. */
export const origin = (item) => item.rules.join(", ") || "drawn at random";

/** A decision in words. */
export const verdict = ({ decision }) => `${WORDS[decision.action]} by ${decision.reviewer}`;
