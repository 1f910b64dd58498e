// The page: asks for a key where one is needed, says how the server is, and hands what comes in to the sections.

import { Refused, events, json, key } from "./api.js";
import { find } from "./dom.js";
import { calibration } from "./calibration.js";
import { distributions } from "./distributions.js";
import { phaseMap } from "./phasemap.js";
import { playground } from "./playground.js";
import { policy } from "./policycard.js";
import { requests } from "./requests.js";
import { retrieval } from "./retrieval.js";
import { review } from "./reviewcard.js";
import { COLUMNS, traffic } from "./traffic.js";

const AGAIN = 2000;
const SILENT = "the server does not answer; asking again";
const pause = () => new Promise((resolve) => setTimeout(resolve, AGAIN));

/** What the server says of itself, as soon as there is a key that may read and a model that is loaded. */
async function open(light) {
  try {
    const state = await json("/page/state");
    document.body.classList.remove("locked");
    return state;
  } catch (error) {
    if (!(error instanceof Refused) || ![401, 403].includes(error.status)) {
      light("away", error instanceof Refused ? error.message : SILENT);
      await pause();
      return open(light);
    }
    const said = error.status === 401 ? "The server does not know this key: check it, or take another." : error.message;
    await askKey(said, Boolean(key.get()));
    return open(light);
  }
}

function askKey(message, wrong) {
  const dialog = find("#key");
  const input = find("input", dialog);
  key.forget();
  find("[role=alert]", dialog).textContent = wrong ? message : "";
  dialog.showModal();
  return new Promise((resolve) => {
    const take = (event) => {
      event.preventDefault();
      if (!input.value.trim()) return;
      key.set(input.value.trim());
      input.value = "";
      dialog.close();
      find("form", dialog).removeEventListener("submit", take);
      resolve();
    };
    find("form", dialog).addEventListener("submit", take);
  });
}

/** Read the feed for as long as the page is there; come back when it breaks. */
async function follow(handlers, light) {
  for (;;) {
    try {
      for await (const { event, data } of events("/page/feed")) handlers[event]?.(JSON.parse(data));
      light("away", "the feed ended; asking again");
    } catch (error) {
      light("away", error instanceof Refused ? error.message : SILENT);
    }
    await pause();
  }
}

function lamp() {
  const box = find("#lamp");
  return (kind, words) => {
    if (box.dataset.kind === kind && find("span", box).textContent === words) return;
    box.dataset.kind = kind;
    find("i", box).textContent = { live: "●", away: "○", trouble: "▲", paused: "❚❚" }[kind];
    find("span", box).textContent = words;
  };
}

function pauser(light) {
  const button = find("#pause");
  const state = { paused: false };
  button.addEventListener("click", () => {
    state.paused = !state.paused;
    button.setAttribute("aria-pressed", String(state.paused));
    if (state.paused) light("paused", "paused");
  });
  return state;
}

async function start() {
  const light = lamp();
  light("away", "connecting");
  const state = await open(light);
  find("#model").textContent = state.models[0];
  find("#context").textContent = state.about;
  playground(find("#playground"), state);
  const onTick = traffic(
    find("#traffic"),
    Object.fromEntries(COLUMNS.map((name) => [name, state.recent[name].slice()])),
  );
  const onModels = distributions(find("#distributions"), state);
  const onTemperature = phaseMap(find("#phases"), state.phase_map, state.temperatures);
  const onAnswer = calibration(find("#calibration"), state.calibrated);
  const onCitation = retrieval(find("#retrieval"), state.retrieves);
  const onRuling = policy(find("#policy"), state.governed);
  review(find("#review"), state.reviewed);
  const onRequest = await requests(find("#requests"));
  const paused = pauser(light);
  const tick = (now) => {
    if (paused.paused) return;
    light(now.trouble ? "trouble" : "live", now.trouble ?? "live");
    onTick(now);
    onModels(now.distributions);
  };
  const ended = (row) => {
    if (paused.paused) return;
    onRequest(row);
    onAnswer();
    onCitation();
    onRuling();
    onTemperature(row.temperature);
  };
  follow({ tick, ended }, light);
}

start().catch((error) => lamp()("away", error.message));
