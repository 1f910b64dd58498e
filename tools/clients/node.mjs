// Steps of the clients for Node: openai, the AI SDK, langchain. node node.mjs NAME URL MODEL FILE
import assert from "node:assert/strict";
import { appendFileSync, readFileSync } from "node:fs";
import OpenAI from "openai";
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, jsonSchema, Output, streamText, tool } from "ai";
import { ChatOpenAI } from "@langchain/openai";
import { z } from "zod";

const [, url, model, found] = process.argv.slice(2);
const api = `${url}/v1`;
const asked = "Say hello to the sea.";
const messages = [{ role: "user", content: asked }];
const verdict = z.object({ mood: z.enum(["calm", "wild"]), deep: z.boolean() });
const town = z.object({ town: z.enum(["Oslo", "Rome"]) });
const weather = {
  type: "function",
  function: { name: "weather", parameters: z.toJSONSchema(town) },
};

const client = new OpenAI({ baseURL: api, apiKey: "none", maxRetries: 0, timeout: 120_000 });
const provider = createOpenAI({ baseURL: api, apiKey: "none" });
const langchain = (more = {}) =>
  new ChatOpenAI({ model, apiKey: "none", maxTokens: 60, maxRetries: 0, configuration: { baseURL: api }, ...more });

async function collect(stream) {
  const parts = [];
  for await (const part of stream) parts.push(part);
  assert.ok(parts.length > 0);
  return parts;
}

const sdk = (kind) => ({
  async plain() {
    assert.ok((await generateText({ model: kind(model), prompt: asked, maxOutputTokens: 24, maxRetries: 0 })).text);
  },
  async stream() {
    let failure;
    const onError = ({ error }) => (failure = error);
    const result = streamText({ model: kind(model), prompt: asked, maxOutputTokens: 24, maxRetries: 0, onError });
    const parts = await collect(result.textStream).catch(() => []);
    if (failure) throw failure;
    assert.ok(parts.join(""));
  },
  async tools() {
    const tools = { weather: tool({ description: "The weather.", inputSchema: town }) };
    const options = { toolChoice: "required", maxOutputTokens: 100, maxRetries: 0 };
    const { toolCalls } = await generateText({ model: kind(model), prompt: asked, tools, ...options });
    assert.ok(["Oslo", "Rome"].includes(toolCalls[0].input.town));
  },
  async "a tool with a record"() {
    const parameters = z.object({ days: z.record(z.string(), z.number()) });
    const tools = { plan: tool({ description: "A plan.", inputSchema: parameters }) };
    await generateText({ model: kind(model), prompt: asked, tools, maxOutputTokens: 24, maxRetries: 0 });
  },
  async "structured output"() {
    const output = Output.object({ schema: verdict });
    const result = await generateText({ model: kind(model), prompt: asked, output, maxOutputTokens: 100, maxRetries: 0 });
    verdict.parse(result.output);
  },
});

const groups = {
  openai: {
    async plain() {
      assert.ok((await client.chat.completions.create({ model, messages, max_tokens: 16 })).choices[0].message.content);
    },
    async stream() {
      await collect(await client.chat.completions.create({ model, messages, max_tokens: 16, stream: true }));
    },
    async tools() {
      const options = { tools: [weather], tool_choice: "required", max_tokens: 100 };
      const answer = await client.chat.completions.create({ model, messages, ...options });
      town.parse(JSON.parse(answer.choices[0].message.tool_calls[0].function.arguments));
    },
    async "log-probabilities"() {
      const options = { max_tokens: 4, logprobs: true, top_logprobs: 2 };
      const answer = await client.chat.completions.create({ model, messages, ...options });
      assert.ok(answer.choices[0].logprobs.content.every((each) => each.top_logprobs.length === 2));
    },
    async responses() {
      assert.ok((await client.responses.create({ model, input: asked, max_output_tokens: 16 })).output_text);
    },
  },
  "ai, responses": sdk((name) => provider(name)),
  "ai, chat": sdk((name) => provider.chat(name)),
  langchain: {
    async plain() {
      assert.ok((await langchain().invoke(asked)).content);
    },
    async stream() {
      await collect(await langchain().stream(asked));
    },
    async tools() {
      const answer = await langchain().bindTools([weather], { tool_choice: "required" }).invoke(asked);
      town.parse(answer.tool_calls[0].args);
    },
    async "structured output"() {
      verdict.parse(await langchain().withStructuredOutput(verdict, { name: "verdict" }).invoke(asked));
    },
    async responses() {
      assert.ok((await langchain({ useResponsesApi: true }).invoke(asked)).content);
    },
  },
};

const packages = { openai: "openai", langchain: "@langchain/openai" };
for (const [group, steps] of Object.entries(groups)) {
  const name = packages[group] ?? "ai";
  const { version } = JSON.parse(readFileSync(new URL(`node_modules/${name}/package.json`, import.meta.url)));
  for (const [step, run] of Object.entries(steps)) {
    let error = "";
    try {
      await run();
    } catch (raised) {
      error = String(raised).replace(/\s+/g, " ").slice(0, 400) || "no message";
    }
    appendFileSync(found, JSON.stringify({ version, step: `${group}: ${step}`, error }) + "\n");
  }
}
