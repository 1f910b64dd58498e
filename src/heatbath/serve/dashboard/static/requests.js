// The last requests, newest first; opening one shows its texts and tokens.

import { json } from "./api.js";
import { clock, find, make, number, seconds } from "./dom.js";
import { reader } from "./tokens.js";

const KEPT = 100;
const FEW = 10;

/** Fill the section from the server; returns a function that takes each request as it ends. */
export async function requests(section) {
  const list = find(".requests", section);
  const empty = find(".empty", section);
  const known = new Set();
  const more = find(".show", section);
  more.addEventListener("click", () => {
    const all = list.classList.toggle("few") === false;
    more.textContent = all ? "Show fewer" : "Show all";
    more.setAttribute("aria-expanded", String(all));
  });
  const put = (row, place) => {
    if (known.has(row.id)) return;
    known.add(row.id);
    list[place](entry(row));
    empty.hidden = true;
    find(".heads", section).hidden = false;
    more.hidden = list.childElementCount <= FEW;
    for (const old of [...list.children].slice(KEPT)) {
      if (find("[aria-expanded=true]", old)) continue;
      known.delete(old.dataset.id);
      old.remove();
    }
  };
  for (const row of (await json("/page/requests")).requests) put(row, "append");
  return (row) => put(row, "prepend");
}

function entry(row) {
  const body = make("div", { class: "opened", id: `request-${row.id}`, hidden: true });
  const button = make("button", { type: "button", "aria-expanded": "false", "aria-controls": body.id }, ...cells(row));
  button.addEventListener("click", () => toggle(button, body, row));
  return make("li", { "data-id": row.id }, button, body);
}

function cells(row) {
  const good = row.status < 400;
  return [
    make("span", { class: "when" }, clock(row.created)),
    make("span", { class: "endpoint" }, row.endpoint),
    make("span", { class: "model" }, row.model),
    make(
      "span",
      { class: good ? "good" : "bad" },
      `${good ? "✓" : "✕"} ${row.status}${row.error ? ` ${row.error}` : ""}`,
    ),
    make("span", { class: "size" }, `${row.prompt_tokens} → ${row.completion_tokens} tokens`),
    make("span", { class: "time" }, seconds(row.duration)),
  ];
}

async function toggle(button, body, row) {
  const open = button.getAttribute("aria-expanded") !== "true";
  button.setAttribute("aria-expanded", String(open));
  body.hidden = !open;
  if (!open || body.childElementCount) return;
  body.replaceChildren(make("p", { class: "quiet" }, "reading…"));
  try {
    body.replaceChildren(...opened(await json(`/page/requests/${encodeURIComponent(row.id)}`)));
  } catch (error) {
    body.replaceChildren(make("p", { class: "quiet", role: "alert" }, error.message));
    setTimeout(() => body.hidden && body.replaceChildren(), 0);
  }
}

function opened(answer) {
  const facts = [
    ["id", answer.id],
    ["finish", answer.finish.join(", ") || "–"],
    ["first token", seconds(answer.first_token)],
    ["waited", seconds(answer.waited)],
    ["from cache", `${answer.cached_tokens} tokens`],
    ["seed", answer.seed ?? "–"],
    ...settings(answer.settings),
  ];
  return [
    make(
      "dl",
      { class: "record" },
      ...facts.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, String(value)))),
    ),
    ...asked(answer.content),
    ...answers(answer),
  ];
}

/** Settings as names and values, those inside others too, without what is empty. */
function settings(given) {
  return Object.entries(given).flatMap(([name, value]) => {
    const inner = value !== null && typeof value === "object" && !Array.isArray(value);
    if (inner) return settings(value);
    return value === null || value.length === 0 || name === "seed"
      ? []
      : [[name, typeof value === "string" ? value : JSON.stringify(value)]];
  });
}

function asked(content) {
  if (!content) return [make("p", { class: "quiet" }, "The text of this request is not kept.")];
  return content.asked.map(({ role, text }) =>
    make("div", { class: "said" }, make("h4", {}, role), make("pre", {}, text)),
  );
}

function answers(answer) {
  const texts = answer.content?.answers ?? [];
  return answer.records.length || texts.length
    ? Array.from({ length: Math.max(answer.records.length, texts.length) }, (_, i) => {
        const summary = answer.summary[i] ? ` · ${means(answer.summary[i])}` : "";
        const head = make("h4", {}, `answer ${i + 1}`, make("span", { class: "quiet" }, summary));
        const columns = answer.records[i];
        const text = columns?.text?.length
          ? reader(columns, `Tokens of answer ${i + 1}`)
          : make("pre", {}, texts[i] ?? "");
        return make("div", { class: "said" }, head, text);
      })
    : [];
}

const means = (summary) =>
  Object.entries(summary)
    .filter(([, value]) => typeof value === "number")
    .map(([name, value]) => `${name.replaceAll("_", " ")} ${Number.isInteger(value) ? value : number(value)}`)
    .join(" · ");
