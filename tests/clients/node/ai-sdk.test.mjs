// The AI SDK, through its provider for OpenAI-compatible servers and through the one made for LLM gateways.
import assert from "node:assert/strict";
import { test } from "node:test";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { createLLMGateway } from "@llmgateway/ai-sdk-provider";
import { APICallError, Output, RetryError, generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import { apiKey, baseURL, ledger, outcomes, requestId } from "./gateway.mjs";

const compatible = createOpenAICompatible({ name: "gateway", baseURL, apiKey, includeUsage: true, supportsStructuredOutputs: true });
const llmgateway = createLLMGateway({ baseURL, apiKey, compatibility: "strict" });
const providers = [["openai-compatible", (name) => compatible(name)], ["llmgateway", (name) => llmgateway.chat(name)]];

for (const [name, model] of providers) {
  test(`${name}: chat answers and counts`, async () => {
    const { text, usage, finishReason } = await generateText({ model: model("stub/echo"), prompt: "hello there", maxRetries: 0 });
    assert.equal(text, "hello there");
    assert.equal(finishReason, "stop");
    assert.ok(usage.totalTokens > 0);
  });

  test(`${name}: a stream arrives in pieces and counts`, async () => {
    const result = streamText({ model: model("stub/echo"), prompt: "one two three", maxRetries: 0 });
    let text = "";
    for await (const piece of result.textStream) text += piece;
    assert.equal(text, "one two three");
    assert.ok((await result.usage).outputTokens > 0);
  });

  test(`${name}: a tool is called and its result used`, async () => {
    const weather = tool({ description: "The weather.", inputSchema: z.object({ city: z.string() }), execute: async () => "sunny" });
    const { text, steps } = await generateText({ model: model("stub/tool"), prompt: "How is it?", tools: { weather }, stopWhen: stepCountIs(3), maxRetries: 0 });
    assert.equal(steps[0].toolCalls[0].toolName, "weather");
    assert.match(text, /sunny/);
  });

  test(`${name}: reasoning comes apart from the text`, async () => {
    const result = streamText({ model: model("stub/reasoning"), prompt: "x", maxRetries: 0 });
    await result.consumeStream();
    assert.ok((await result.reasoningText).length > 0);
  });

  test(`${name}: an error keeps its status and words`, async () => {
    await assert.rejects(generateText({ model: model("stub/error:status=400"), prompt: "x", maxRetries: 0 }), (error) => APICallError.isInstance(error) && error.statusCode === 400);
  });

  test(`${name}: a streamed tool call is put together`, async () => {
    const weather = tool({ description: "The weather.", inputSchema: z.object({ city: z.string() }) });
    const result = streamText({ model: model("stub/tool"), prompt: "How is it?", tools: { weather }, maxRetries: 0 });
    await result.consumeStream();
    assert.ok((await result.toolCalls)[0].input.city);
    assert.equal(await result.finishReason, "tool-calls");
  });

  test(`${name}: structured output is parsed`, async () => {
    const schema = z.object({ name: z.string(), inhabitants: z.number() });
    const { output } = await generateText({ model: model("stub/echo"), prompt: "x", output: Output.object({ schema }), maxRetries: 0 });
    assert.ok(schema.parse(output));
  });

  test(`${name}: an image reaches the model`, async () => {
    const content = [{ type: "text", text: "What is this?" }, { type: "image", image: Buffer.from("89504e470d0a1a0a", "hex"), mediaType: "image/png" }];
    const { text } = await generateText({ model: model("stub/echo"), messages: [{ role: "user", content }], maxRetries: 0 });
    assert.match(text, /\[1 image\]/);
  });

  test(`${name}: retry-after is waited for`, async () => {
    const headers = { "x-request-id": requestId() };
    const began = performance.now();
    await assert.rejects(generateText({ model: model("stub/error:status=429,retry_after=1"), prompt: "x", headers, maxRetries: 1 }), RetryError);
    const waited = performance.now() - began;
    // Left to itself the SDK waits for two seconds; a timer of Node may fire a millisecond early.
    assert.ok(waited >= 990 && waited < 2000, `${waited} ms`);
    assert.equal((await ledger(headers["x-request-id"], 2)).length, 2);
  });

  test(`${name}: a request that is wrong is not tried again`, async () => {
    const headers = { "x-request-id": requestId() };
    await assert.rejects(generateText({ model: model("stub/error:status=400"), prompt: "x", headers, maxRetries: 3 }), (error) => APICallError.isInstance(error) && !error.isRetryable);
    assert.deepEqual(await outcomes(headers["x-request-id"]), ["failed"]);
  });

  test(`${name}: an aborted call is booked as cancelled`, async () => {
    const headers = { "x-request-id": requestId() };
    const abortSignal = AbortSignal.timeout(500);
    await assert.rejects(generateText({ model: model("stub/slow:ms=20000"), prompt: "x", headers, abortSignal, maxRetries: 0 }), { name: "TimeoutError" });
    assert.deepEqual(await outcomes(headers["x-request-id"]), ["cancelled"]);
  });

  test(`${name}: an aborted stream is booked as cancelled`, async () => {
    const headers = { "x-request-id": requestId() };
    const abort = new AbortController();
    const result = streamText({ model: model("stub/drip:events=1000,ms=50"), prompt: "x", headers, abortSignal: abort.signal, maxRetries: 0 });
    for await (const part of result.fullStream) if (part.type === "text-delta") abort.abort();
    assert.deepEqual(await outcomes(headers["x-request-id"]), ["cancelled"]);
  });

  for (const broken of ["stub/truncate:after=3", "stub/error_event:after=3"]) {
    test(`${name}: a stream that breaks is not a success: ${broken}`, async () => {
      const errors = [];
      const result = streamText({ model: model(broken), prompt: "one two three four five", maxRetries: 0, onError: ({ error }) => errors.push(error) });
      let text = "";
      for await (const piece of result.textStream) text += piece;
      assert.ok(text.length > 0 && errors.length > 0);
      assert.equal(await result.finishReason, "error");
    });
  }
}
