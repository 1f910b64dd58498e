// Cases for the official client: node node.mjs REAL_URL MOCK_URL MODEL prints {case: "ok" or what went wrong}.
import assert from "node:assert/strict";
import OpenAI from "openai";

const [real, mock, model] = process.argv.slice(2);
const client = new OpenAI({ baseURL: real, apiKey: "none", maxRetries: 0, timeout: 60_000 });
const quick = new OpenAI({ baseURL: mock, apiKey: "none", maxRetries: 0, timeout: 20_000 });
const messages = [{ role: "user", content: "Say hello to the sea." }];
const asked = { model, messages, max_tokens: 8, temperature: 0 };

const schema = {
  type: "object",
  properties: { mood: { enum: ["calm", "wild"] }, deep: { type: "boolean" } },
  required: ["mood", "deep"],
  additionalProperties: false,
};
const weather = {
  type: "function",
  function: {
    name: "weather",
    description: "The weather of a town.",
    parameters: {
      type: "object",
      properties: { town: { enum: ["Oslo", "Rome"] } },
      required: ["town"],
      additionalProperties: false,
    },
  },
};

async function thrown(work) {
  try {
    await work();
  } catch (error) {
    return error;
  }
  assert.fail("nothing was thrown");
}

async function running() {
  const response = await fetch(new URL("/health/ready", mock));
  return (await response.json()).load.running;
}

async function idle() {
  for (let i = 0; i < 100; i++) {
    if ((await running()) === 0) return;
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
  assert.fail("its rows were not freed");
}

const cases = {
  async models() {
    const found = [];
    for await (const each of client.models.list()) found.push(each.id);
    assert.ok(found.includes(model));
    assert.equal((await client.models.retrieve(model)).id, model);
  },
  async chat() {
    const answer = await client.chat.completions.create(asked);
    assert.equal(answer.choices[0].message.role, "assistant");
    assert.ok(answer.choices[0].message.content.length > 0);
    assert.ok(answer.usage.completion_tokens <= 8 && answer._request_id);
  },
  async stream() {
    const whole = await client.chat.completions.create(asked);
    let text = "";
    for await (const chunk of await client.chat.completions.create({ ...asked, stream: true })) {
      text += chunk.choices[0].delta.content ?? "";
    }
    assert.equal(text, whole.choices[0].message.content);
  },
  async usage() {
    const options = { ...asked, stream: true, stream_options: { include_usage: true } };
    const chunks = [];
    for await (const chunk of await client.chat.completions.create(options)) chunks.push(chunk);
    const last = chunks.pop();
    assert.deepEqual(last.choices, []);
    assert.ok(last.usage.total_tokens > 0 && chunks.every((chunk) => chunk.usage === null));
  },
  async schema() {
    const format = { type: "json_schema", json_schema: { name: "verdict", strict: true, schema } };
    const answer = await client.chat.completions.parse({ ...asked, max_tokens: 60, response_format: format });
    const given = JSON.parse(answer.choices[0].message.content);
    assert.deepEqual(Object.keys(given).sort(), ["deep", "mood"]);
    assert.ok(["calm", "wild"].includes(given.mood) && typeof given.deep === "boolean");
  },
  async tools() {
    const stream = client.chat.completions.stream({ ...asked, max_tokens: 60, tools: [weather], tool_choice: "required" });
    const message = await stream.finalMessage();
    const call = message.tool_calls[0];
    assert.equal(call.function.name, "weather");
    assert.ok(["Oslo", "Rome"].includes(JSON.parse(call.function.arguments).town));
  },
  async logprobs() {
    const answer = await client.chat.completions.create({ ...asked, logprobs: true, top_logprobs: 3 });
    for (const each of answer.choices[0].logprobs.content) {
      assert.equal(each.top_logprobs.length, 3);
      assert.ok(each.logprob <= 0 && each.top_logprobs[0].logprob >= each.top_logprobs[1].logprob);
    }
  },
  async completions() {
    const answer = await client.completions.create({ model, prompt: "The sea", max_tokens: 1, echo: true, logprobs: 1 });
    assert.ok(answer.choices[0].text.startsWith("The sea"));
    assert.equal(answer.choices[0].logprobs.token_logprobs[0], null);
  },
  async embeddings() {
    const names = [];
    for await (const each of client.models.list()) names.push(each.id);
    const name = names.find((each) => each !== model) ?? model;
    const packed = await client.embeddings.create({ model: name, input: ["the sea", "a tax form"] });
    const plain = await client.embeddings.create({ model: name, input: ["the sea", "a tax form"], encoding_format: "float" });
    packed.data.forEach((each, i) =>
      each.embedding.forEach((value, j) => assert.ok(Math.abs(value - plain.data[i].embedding[j]) < 1e-6)),
    );
  },
  async decisions() {
    const questions = [{ type: "predicate", instructions: "Is this about water?" }];
    const found = await client.post("/decisions", { body: { model, input: "The sea is deep.", questions } });
    assert.ok(found.answers[0].probability >= 0 && found.answers[0].probability <= 1);
  },
  async thermo() {
    const answer = await client.chat.completions.create({ ...asked, thermo: { records: true } });
    assert.equal(answer.choices[0].thermo.records.entropy.length, answer.usage.completion_tokens);
  },
  async stored() {
    const answer = await client.chat.completions.create({ ...asked, store: true });
    const again = await client.chat.completions.retrieve(answer.id);
    assert.equal(again.choices[0].message.content, answer.choices[0].message.content);
  },
  async "bad request"() {
    const error = await thrown(() => client.chat.completions.create({ ...asked, temperature: -1 }));
    assert.ok(error instanceof OpenAI.BadRequestError);
    assert.equal(error.param, "temperature");
    assert.ok(error.code && error.type && error.requestID);
  },
  async "not found"() {
    const error = await thrown(() => client.chat.completions.create({ ...asked, model: "nobody" }));
    assert.ok(error instanceof OpenAI.NotFoundError);
    assert.equal(error.code, "model_not_found");
  },
  async abort() {
    const stream = await quick.chat.completions.create({ model: "mock", messages, max_tokens: 4000, stream: true });
    for await (const chunk of stream) {
      assert.ok(chunk.id);
      break;
    }
    await idle();
  },
  async timeout() {
    const slow = quick.chat.completions.create({ model: "mock", messages, max_tokens: 4000 }, { timeout: 300 });
    assert.ok((await thrown(() => slow)) instanceof OpenAI.APIConnectionTimeoutError);
    await idle();
  },
};

const found = {};
for (const [name, run] of Object.entries(cases)) {
  try {
    await run();
    found[name] = "ok";
  } catch (error) {
    found[name] = String(error.stack ?? error).slice(0, 600);
  }
}
console.log(JSON.stringify(found));
