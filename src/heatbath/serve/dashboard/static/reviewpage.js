// The desk of a reviewer: the queue, the item that was taken, and its decision.

import { Refused, json, key } from "./api.js";
import { clock, find, make, percent, shown } from "./dom.js";
import { origin, showList, verdict } from "./reviewlist.js";

const AGAIN = 3_000;
const queue = find(".queue");
const desk = find("#item");
const form = find("form", desk);
const state = { item: null, until: 0, status: "pending" };

const send = (id, action, body) =>
  json(`/v1/review/${encodeURIComponent(id)}/${action}`, { method: "POST", body: JSON.stringify(body) });
const say = (words) => (find(".said").textContent = words);

async function load() {
  const rule = find("[name=rule]", queue).value.trim();
  const query = new URLSearchParams({ status: state.status, limit: "50", ...(rule && { rule }) });
  try {
    const page = await json(`/v1/review?${query}`);
    find(".empty", queue).textContent = state.status === "pending" ? "Nothing waits for a decision." : "Nothing is decided yet.";
    showList(queue, page, { current: state.item?.id, choose });
    light("live", `${page.data.length}${page.next === null ? "" : "+"} ${state.status}`);
  } catch (error) {
    if (error instanceof Refused && [401, 403].includes(error.status)) return askKey(error.message);
    light("away", error instanceof Refused ? error.message : "the server does not answer; asking again");
  }
}

/** Take an item and show it; one that is decided is shown alone. */
async function choose(item) {
  say("");
  await attempt(async () => {
    if (state.item && state.item.id !== item.id && state.item.status === "pending") await giveBack();
    show(item.status === "pending" ? await send(item.id, "lock", {}) : item);
    desk.focus();
  });
}

async function giveBack() {
  const { id } = state.item;
  show(null);
  await send(id, "lock", { seconds: 0 }).catch(() => {});
}

async function decide(action) {
  const { id } = state.item;
  const text = action === "edit" ? form.elements.text.value : null;
  await attempt(async () => {
    await send(id, "decision", { action, reason: form.elements.reason.value, text });
    show(null);
    say("");
  });
}

/** Do something and load the queue again; what the server refuses is said. */
async function attempt(work) {
  try {
    await work();
  } catch (error) {
    say(error instanceof Refused ? error.message : "the server does not answer");
    if (error.status === 409) show(null);
  }
  await load();
}

function show(item) {
  state.item = item;
  find("article", desk).hidden = !item;
  find(".hint", desk).hidden = Boolean(item);
  if (!item) return;
  state.until = item.locked_until ?? 0;
  find(".origin", desk).textContent = about(item);
  const rules = item.rules.length ? item.rules : [origin(item)];
  find(".rules", desk).replaceChildren(
    ...rules.map((name) => make("li", { class: item.rules.length ? null : "random" }, name)),
  );
  find(".prompt", desk).hidden = !item.prompt;
  find(".prompt pre", desk).textContent = shown(item.prompt ?? "");
  find(".text", desk).textContent = item.text === null ? "(erased)" : shown(item.text);
  form.hidden = item.status !== "pending";
  form.elements.text.value = item.text ?? "";
  form.elements.reason.value = "";
  form.elements.edit.disabled = true;
  showDecision(item);
  tick();
}

function about(item) {
  const measured = item.confidence === null ? "" : ` · confidence ${percent(item.confidence)}`;
  const sent = item.probability < 1 ? ` · sent with probability ${percent(item.probability)}` : "";
  return `${item.model} at ${item.endpoint} for ${item.tenant}, ${clock(item.created_at)}${measured}${sent}`;
}

function showDecision(item) {
  const box = find(".verdict-given", desk);
  box.hidden = !item.decision;
  if (!item.decision) return;
  const { reason, text, decided_at: time } = item.decision;
  find("p", box).textContent = `${verdict(item)}, ${clock(time)}${reason ? `: ${reason}` : ""}`;
  find("pre", box).hidden = text === null;
  find("pre", box).textContent = shown(text ?? "");
}

/** Show the time left of the lock; when it is over the item is no longer ours. */
function tick() {
  if (!state.item || state.item.status !== "pending") return;
  const left = Math.round(state.until - Date.now() / 1000);
  find(".lock", desk).textContent = left > 0 ? `yours for ${left} s` : "the lock is over: another reviewer may take it";
}

function light(kind, words) {
  const box = find("#lamp");
  box.dataset.kind = kind;
  find("i", box).textContent = { live: "●", away: "○" }[kind];
  find("span", box).textContent = words;
}

function askKey(message) {
  const dialog = find("#key");
  if (dialog.open) return;
  find("[role=alert]", dialog).textContent = key.get() ? message : "";
  key.forget();
  dialog.showModal();
}

find("#key form").addEventListener("submit", (event) => {
  event.preventDefault();
  const input = find("#key input");
  key.set(input.value.trim());
  input.value = "";
  find("#key").close();
  load();
});
form.addEventListener("submit", (event) => event.preventDefault());
form.elements.text.addEventListener("input", () => {
  form.elements.edit.disabled = form.elements.text.value === state.item.text;
});
for (const action of ["approve", "edit", "reject"]) form.elements[action].addEventListener("click", () => decide(action));
form.elements.back.addEventListener("click", () => attempt(giveBack));
for (const radio of queue.querySelectorAll("[name=status]")) {
  radio.addEventListener("change", () => {
    state.status = radio.value;
    load();
  });
}
find("[name=rule]", queue).addEventListener("change", load);
setInterval(tick, 1000);
setInterval(() => document.hidden || load(), AGAIN);
load();
