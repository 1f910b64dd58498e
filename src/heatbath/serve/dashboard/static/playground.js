// The playground: a prompt goes to the API like any client's; the answer comes with the ensemble of each step.

import { events, key } from "./api.js";
import { find } from "./dom.js";
import { ensembleOf } from "./ensemble.js";
import { stepper } from "./stepper.js";

const TOP = 20;
const TOP_OF_TEXT = 5;

/** Wire the section; `state` is what the server said of its models and limits. */
export function playground(section, state) {
  const form = find("form", section);
  fillForm(form, state);
  const steps = stepper(section);
  const status = find(".status", section);
  const run = { abort: null };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send(form, { state, steps, status, run });
  });
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
  find("[name=cancel]", form).addEventListener("click", () => run.abort?.abort());
}

function fillForm(form, state) {
  const option = (value) => new Option(value, value);
  const { window: chosen, amount } = form.elements;
  form.elements.model.replaceChildren(...state.models.map(option));
  form.elements.sampler.replaceChildren(...state.samplers.map(option));
  form.elements.max_tokens.max = String(state.max_tokens);
  chosen.replaceChildren(new Option("none", ""), ...Object.keys(state.windows).map(option));
  const suit = () => {
    const takes = state.windows[chosen.value] ?? "";
    amount.disabled = takes === "" || Number.isNaN(Number(takes));
    amount.value = amount.disabled ? "" : takes;
  };
  chosen.addEventListener("change", suit);
  suit();
}

/** The body of the request that a form asks for. */
export function bodyOf(values) {
  const chat = values.endpoint === "/v1/chat/completions";
  const body = {
    model: values.model,
    ...(chat ? { messages: [{ role: "user", content: values.prompt }] } : { prompt: values.prompt }),
    temperature: Number(values.temperature),
    max_tokens: Number(values.max_tokens),
    stream: true,
    ...(chat ? { logprobs: true, top_logprobs: TOP } : { logprobs: TOP_OF_TEXT }),
    thermo: { record: "full" },
  };
  if (values.sampler !== "ancestral") body.thermo.sampler = values.sampler;
  if (values.window) body.thermo.windows = { [values.window]: values.amount ? Number(values.amount) : null };
  if (values.seed !== "") body.seed = Number(values.seed);
  return body;
}

async function send(form, { state, steps, status, run }) {
  const values = Object.fromEntries(new FormData(form));
  run.abort = new AbortController();
  busy(form, true);
  steps.clear();
  status.textContent = "waiting for the first token…";
  const began = performance.now();
  let whole = false;
  try {
    const options = { method: "POST", body: JSON.stringify(bodyOf(values)), signal: run.abort.signal };
    for await (const event of events(values.endpoint, options)) {
      whole = event.data === "[DONE]";
      if (whole) break;
      const chunk = JSON.parse(event.data);
      if (chunk.error) throw new Error(chunk.error.message);
      const found = stepsOf(chunk, state.node_betas);
      if (found.length) steps.append(found);
      status.textContent = `${steps.count()} tokens in ${((performance.now() - began) / 1000).toFixed(1)} s`;
    }
    status.textContent += whole ? " · finished" : " · the answer was cut off";
  } catch (error) {
    status.textContent = error.name === "AbortError" ? `${steps.count()} tokens · stopped` : error.message;
    if (error.status === 401) key.forget();
  } finally {
    busy(form, false);
  }
}

function busy(form, is) {
  find("[name=send]", form).disabled = is;
  find("[name=cancel]", form).disabled = !is;
}

/** The steps of a chunk of either endpoint: {text, entropy, ensemble}. */
export function stepsOf(chunk, betas) {
  return (chunk.choices ?? []).flatMap((choice) => {
    const tokens = tokensOf(choice.logprobs);
    const records = recordsOf(choice.thermo?.records, tokens.length);
    return tokens.map(({ text, drawn, top }, i) => ({
      text,
      entropy: records[i]?.entropy ?? null,
      ensemble: ensembleOf({ top, drawn, record: records[i], betas }),
    }));
  });
}

function tokensOf(logprobs) {
  if (logprobs?.content) {
    const pair = (token) => [spelled(token), token.logprob];
    return logprobs.content.map((token) => ({
      text: token.token,
      drawn: pair(token),
      top: token.top_logprobs.map(pair),
    }));
  }
  return (logprobs?.tokens ?? []).map((text, i) => ({
    text,
    drawn: [text, logprobs.token_logprobs[i]],
    top: Object.entries(logprobs.top_logprobs?.[i] ?? {}),
  }));
}

/** The text of a token; its bytes where they are only a part of a letter. */
function spelled({ token, bytes }) {
  if (!token.includes("\ufffd") || !bytes) return token;
  return `‹${bytes.map((byte) => byte.toString(16).padStart(2, "0")).join(" ")}›`;
}

/** Records as one object a token, whether they came as columns or as rows. */
function recordsOf(records, count) {
  if (!records) return [];
  if (Array.isArray(records)) return records;
  const columns = Object.entries(records).filter(([, values]) => Array.isArray(values));
  return Array.from({ length: count }, (_, i) =>
    Object.fromEntries(columns.map(([name, values]) => [name, values[i]])),
  );
}
