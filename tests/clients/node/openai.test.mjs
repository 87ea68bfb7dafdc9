// openai-node: what its users do.
import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";
import { apiKey, baseURL, ledger, outcomes, requestId, settled } from "./gateway.mjs";

const client = new OpenAI({ baseURL, apiKey, maxRetries: 0, timeout: 20_000 });
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

test("a tool is called and its result used", async () => {
  const messages = said("How is it in Rome?");
  const first = (await client.chat.completions.create({ model: "stub/tool", messages, tools: [weather] })).choices[0];
  assert.equal(first.finish_reason, "tool_calls");
  const result = { role: "tool", tool_call_id: first.message.tool_calls[0].id, content: "sunny" };
  const second = await client.chat.completions.create({ model: "stub/tool", messages: [...messages, first.message, result], tools: [weather] });
  assert.match(second.choices[0].message.content, /sunny/);
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

test("a wrong key is an authentication error", async () => {
  await assert.rejects(new OpenAI({ baseURL, apiKey: "lgw_wrong", maxRetries: 0 }).models.list(), (error) => error instanceof OpenAI.AuthenticationError && error.code === "invalid_api_key");
});

test("a failure of the provider is tried again", async () => {
  const headers = { "x-request-id": requestId() };
  for (let turn = 0; turn < 2; turn += 1) {
    assert.ok((await client.chat.completions.create({ model: "stub/flaky:every=2", messages: said("x") }, { headers, maxRetries: 4 })).choices);
  }
  // Two answers with at least one failure between them; each worker books its own.
  const found = (await ledger(headers["x-request-id"], 3, 2)).map((row) => row.outcome);
  assert.ok(found.includes("failed") && found.filter((outcome) => outcome === "completed").length === 2);
});

test("a refused credential is not tried again", async () => {
  const headers = { "x-request-id": requestId() };
  await assert.rejects(client.chat.completions.create({ model: "stub/error:status=401", messages: said("x") }, { headers, maxRetries: 3 }), (error) => error.code === "upstream_auth" && error.headers.get("x-should-retry") === "false");
  assert.equal((await settled(headers["x-request-id"])).length, 1);
});

test("retry-after is waited for", async () => {
  const headers = { "x-request-id": requestId() };
  const began = performance.now();
  await assert.rejects(client.chat.completions.create({ model: "stub/error:status=429,retry_after=1", messages: said("x") }, { headers, maxRetries: 1 }), (error) => error.headers.get("retry-after-ms") === "1000");
  // A timer of Node may fire a millisecond early.
  assert.ok(performance.now() - began >= 990);
  assert.equal((await ledger(headers["x-request-id"], 2)).length, 2);
});

for (const model of ["stub/slow:ms=20000", "stub/silent"]) {
  for (const stream of [false, true]) {
    test(`a time-out of ${stream ? "a stream" : "a call"} on ${model} is booked as cancelled`, async () => {
      const headers = { "x-request-id": requestId() };
      await assert.rejects(client.chat.completions.create({ model, messages: said("x"), stream }, { headers, timeout: 500 }), OpenAI.APIConnectionTimeoutError);
      assert.deepEqual(await outcomes(headers["x-request-id"]), ["cancelled"]);
    });
  }
}

test("an aborted call is booked as cancelled", async () => {
  const headers = { "x-request-id": requestId() };
  await assert.rejects(client.chat.completions.create({ model: "stub/slow:ms=20000", messages: said("x") }, { headers, signal: AbortSignal.timeout(500) }), OpenAI.APIUserAbortError);
  assert.deepEqual(await outcomes(headers["x-request-id"]), ["cancelled"]);
});

test("an aborted stream is booked as cancelled", async () => {
  const headers = { "x-request-id": requestId() };
  const stream = await client.chat.completions.create({ model: "stub/drip:events=1000,ms=50", messages: said("x"), stream: true }, { headers });
  for await (const chunk of stream) {
    assert.ok(chunk.id);
    stream.controller.abort();
  }
  assert.deepEqual(await outcomes(headers["x-request-id"]), ["cancelled"]);
});

for (const [model, code] of [["stub/truncate:after=3", "stream_truncated"], ["stub/error_event:after=3", "upstream_error"]]) {
  test(`a stream that breaks raises after what was delivered: ${model}`, async () => {
    const headers = { "x-request-id": requestId() };
    let chunks = 0;
    await assert.rejects(async () => {
      for await (const chunk of await client.chat.completions.create({ model, messages: said("one two three four five"), stream: true }, { headers })) {
        assert.equal(chunk.choices[0].finish_reason, null);
        chunks += 1;
      }
    }, (error) => error instanceof OpenAI.APIError && error.code === code);
    assert.ok(chunks > 0);
    assert.deepEqual(await outcomes(headers["x-request-id"]), ["failed"]);
  });
}
