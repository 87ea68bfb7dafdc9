// The playground: a streaming chat completion with a key, from the public listener.

import { explained } from "./api.js";
import { $, count, ms, pairs, say } from "./view.js";

let origin = null;
let running = null;

/** Where clients come in. A listener that is open to all has no name of its own: it has the page's. */
export function serveFrom(listen) {
  const port = listen?.slice(listen.lastIndexOf(":") + 1);
  const everywhere = listen?.startsWith("0.0.0.0:") || listen?.startsWith("[::]:");
  origin = listen ? `http://${everywhere ? `${location.hostname}:${port}` : listen}` : null;
  say("play-where", origin ? `They go to ${origin}.` : "");
}

/** Puts a key into the form. */
export function use(key) {
  $("play-key").value = key;
  $("play-message").focus();
}

/** The JSON of every event, as it comes; ends with `[DONE]` or the body. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      const data = line.startsWith("data:") ? line.slice(5).trim() : "";
      if (data === "[DONE]") return;
      if (data) yield JSON.parse(data);
    }
  }
}

async function send(event) {
  event.preventDefault();
  if (running || !origin) return;
  running = new AbortController();
  begin();
  const seen = { started: performance.now(), first: null, usage: null, metadata: null, finish: null, headers: null };
  try {
    const response = await fetch(`${origin}/v1/chat/completions`, {
      method: "POST",
      credentials: "omit",
      signal: running.signal,
      headers: { authorization: `Bearer ${$("play-key").value.trim()}`, "content-type": "application/json" },
      body: JSON.stringify({
        model: $("play-model").value.trim(),
        stream: true,
        stream_options: { include_usage: true },
        messages: [{ role: "user", content: $("play-message").value }],
      }),
    });
    seen.headers = response.headers;
    if (!response.ok) throw new Error(await explained(response));
    for await (const chunk of events(response.body)) take(chunk, seen);
    say("play-state", "Done.");
  } catch (error) {
    failed(error);
  } finally {
    running = null;
    $("play-send").disabled = false;
    $("play-stop").disabled = true;
    facts(seen);
  }
}

function begin() {
  for (const id of ["play-answer", "play-reasoning", "play-error", "play-facts"]) $(id).replaceChildren();
  $("play-reasoning-box").hidden = true;
  $("play-send").disabled = true;
  $("play-stop").disabled = false;
  say("play-state", "Answering\u2026");
}

function failed(error) {
  if (error.name === "AbortError") {
    say("play-state", "Stopped.");
    return;
  }
  say("play-state", "Failed.");
  // Browsers say nothing more of a call that was not allowed, lest a page learn what is there.
  const unreachable = error.name === "TypeError";
  $("play-error").textContent = unreachable
    ? `${origin} cannot be reached from this page. If it runs, add ${location.origin} to server.cors_origins.`
    : error.message;
}

/** Adds one chunk to what is shown. */
function take(chunk, seen) {
  if (chunk.error) throw new Error(chunk.error.message);
  seen.usage = chunk.usage ?? seen.usage;
  seen.metadata = chunk.metadata ?? seen.metadata;
  const choice = chunk.choices?.[0];
  seen.finish = choice?.finish_reason ?? seen.finish;
  const { content, reasoning } = choice?.delta ?? {};
  if (content || reasoning) seen.first ??= performance.now();
  if (reasoning) {
    $("play-reasoning-box").hidden = false;
    $("play-reasoning").append(reasoning);
  }
  if (content) $("play-answer").append(content);
}

function facts({ started, first, usage, metadata, finish, headers }) {
  const header = (name) => headers?.get(name) ?? "-";
  const attempts = metadata?.attempts?.map((one) => `${one.provider}/${one.model}: ${one.error ?? one.status}`).join("; ");
  pairs("play-facts", [
    ["Provider", metadata?.used_provider ?? header("x-gateway-provider")],
    ["Model", metadata?.used_model ?? header("x-gateway-model")],
    ["Attempts", attempts ?? header("x-gateway-attempts")],
    ["Request", header("x-request-id")],
    ["Finish reason", finish ?? "-"],
    ["Tokens", usage ? `${count(usage.prompt_tokens)} in, ${count(usage.completion_tokens)} out` : "-"],
    ["Cost", usage?.cost === undefined ? "-" : `$${usage.cost}`],
    ["First token", ms(first && Math.round(first - started))],
    ["Duration", ms(Math.round(performance.now() - started))],
  ]);
}

/** Ends what runs and forgets the key. */
export function forget() {
  running?.abort();
  $("play-key").value = "";
  for (const id of ["play-answer", "play-reasoning", "play-facts"]) $(id).replaceChildren();
}

export function start() {
  $("play-form").addEventListener("submit", send);
  $("play-stop").addEventListener("click", () => running?.abort());
}
