// The AI SDK, through its provider for OpenAI-compatible servers and through the one made for LLM gateways.
import assert from "node:assert/strict";
import { test } from "node:test";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { createLLMGateway } from "@llmgateway/ai-sdk-provider";
import { APICallError, Output, generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const baseURL = process.env.GATEWAY_URL;
const apiKey = process.env.GATEWAY_KEY;
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

  test(`${name}: a stream that breaks is not a success`, async () => {
    for (const broken of ["stub/truncate:after=3", "stub/error_event:after=3"]) {
      const errors = [];
      const result = streamText({ model: model(broken), prompt: "x", maxRetries: 0, onError: ({ error }) => errors.push(error) });
      await result.consumeStream({ onError: (error) => errors.push(error) });
      assert.ok(errors.length > 0 || (await result.finishReason) === "error");
    }
  });
}

test("openai-compatible: structured output is parsed", async () => {
  const schema = z.object({ name: z.string(), inhabitants: z.number() });
  const { output } = await generateText({ model: compatible("stub/echo"), prompt: "x", output: Output.object({ schema }), maxRetries: 0 });
  assert.ok(schema.parse(output));
});

test("openai-compatible: an abort ends the call", async () => {
  const abort = new AbortController();
  const running = generateText({ model: compatible("stub/slow:ms=20000"), prompt: "x", abortSignal: abort.signal, maxRetries: 0 });
  abort.abort();
  await assert.rejects(running, (error) => error.name === "AbortError");
});
