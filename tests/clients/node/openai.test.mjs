// openai-node: what its users do.
import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

const client = new OpenAI({ baseURL: process.env.GATEWAY_URL, apiKey: process.env.GATEWAY_KEY, maxRetries: 0, timeout: 20_000 });
const said = (text) => [{ role: "user", content: text }];
const weather = {
  type: "function",
  function: { name: "weather", parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] } },
};

test("chat answers with usage and metadata", async () => {
  const answer = await client.chat.completions.create({ model: "stub/echo", messages: said("hello there") });
  assert.equal(answer.choices[0].message.content, "hello there");
  assert.ok(answer.usage.total_tokens > 0);
  assert.equal(answer.metadata.used_provider, "stub");
  assert.ok(answer._request_id);
});

test("a stream arrives in pieces", async () => {
  let text = "";
  let usage;
  const stream = await client.chat.completions.create({ model: "stub/echo", messages: said("one two three"), stream: true, stream_options: { include_usage: true } });
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta?.content ?? "";
    usage = chunk.usage ?? usage;
  }
  assert.equal(text, "one two three");
  assert.ok(usage.completion_tokens > 0);
});

test("the stream helper puts tool calls together", async () => {
  const stream = client.chat.completions.stream({ model: "stub/tools", messages: said("x"), tools: [weather] });
  const final = await stream.finalChatCompletion();
  assert.equal(final.choices[0].message.tool_calls.length, 2);
  assert.ok(JSON.parse(final.choices[0].message.tool_calls[1].function.arguments).city);
});

test("structured output is parsed", async () => {
  const City = z.object({ name: z.string(), inhabitants: z.number() });
  const answer = await client.chat.completions.parse({ model: "stub/echo", messages: said("x"), response_format: zodResponseFormat(City, "city") });
  assert.ok(City.parse(answer.choices[0].message.parsed));
});

test("an image reaches the model", async () => {
  const content = [{ type: "text", text: "What is this?" }, { type: "image_url", image_url: { url: "data:image/png;base64,AAAA" } }];
  const answer = await client.chat.completions.create({ model: "stub/echo", messages: [{ role: "user", content }] });
  assert.match(answer.choices[0].message.content, /\[1 image\]/);
});

test("errors have their class", async () => {
  for (const [model, kind] of [["stub/error:status=400", OpenAI.BadRequestError], ["stub/error:status=429", OpenAI.RateLimitError], ["stub/error:status=500", OpenAI.InternalServerError], ["no-such-model", OpenAI.NotFoundError]]) {
    await assert.rejects(client.chat.completions.create({ model, messages: said("x") }), (error) => error instanceof kind);
  }
});

test("a failure of the provider is tried again, a refused credential is not", async () => {
  const patient = client.withOptions({ maxRetries: 4 });
  for (let turn = 0; turn < 2; turn += 1) {
    assert.ok((await patient.chat.completions.create({ model: "stub/flaky:every=2", messages: said("x") })).choices);
  }
  let calls = 0;
  const counting = new OpenAI({ baseURL: process.env.GATEWAY_URL, apiKey: process.env.GATEWAY_KEY, maxRetries: 3, fetch: (...given) => { calls += 1; return fetch(...given); } });
  await assert.rejects(counting.chat.completions.create({ model: "stub/error:status=401", messages: said("x") }), (error) => error.code === "upstream_auth");
  assert.equal(calls, 1);
});

test("a time-out and an abort end the call", async () => {
  const slow = { model: "stub/slow:ms=20000", messages: said("x") };
  await assert.rejects(client.chat.completions.create(slow, { timeout: 300 }), OpenAI.APIConnectionTimeoutError);
  const stream = await client.chat.completions.create({ model: "stub/drip:events=1000,ms=50", messages: said("x"), stream: true });
  for await (const chunk of stream) {
    assert.ok(chunk.id);
    stream.controller.abort();
  }
});

test("a stream that breaks raises", async () => {
  for (const model of ["stub/truncate:after=3", "stub/error_event:after=3"]) {
    await assert.rejects(async () => {
      for await (const chunk of await client.chat.completions.create({ model, messages: said("x"), stream: true })) assert.ok(chunk);
    }, OpenAI.APIError);
  }
});
