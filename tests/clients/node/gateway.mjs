// Where the gateway is, and what its ledger says.
import { randomUUID } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";

export const baseURL = process.env.GATEWAY_URL;
export const apiKey = process.env.GATEWAY_KEY;
const metrics = process.env.GATEWAY_METRICS;
const admin = metrics.replace(/\/metrics$/, "/admin/v1");

/** An id of its own for a request. */
export const requestId = () => `client-${randomUUID()}`;

/** The ledger rows of a request, once there are that many, of which so many completed. */
export async function ledger(id, rows = 1, completed = 0) {
  for (const deadline = Date.now() + 10_000; ; await pause(50)) {
    const answer = await fetch(`${admin}/requests?limit=200`, { headers: { authorization: `Bearer ${process.env.GATEWAY_ADMIN_KEY}` } });
    const found = (await answer.json()).data.filter((row) => row.request_id === id);
    const done = found.filter((row) => row.outcome === "completed").length;
    if (found.length >= rows && done >= completed) return found;
    if (Date.now() > deadline) throw new Error(`${found.length} rows of ${id}`);
  }
}

/** The rows of a request, once a later call is in the ledger: whatever it caused before is there by then. */
export async function settled(id) {
  const headers = { authorization: `Bearer ${apiKey}`, "content-type": "application/json", "x-request-id": `${id}-after` };
  await fetch(`${baseURL}/chat/completions`, { method: "POST", headers, body: JSON.stringify({ model: "stub/echo", messages: [{ role: "user", content: "x" }] }) });
  await ledger(`${id}-after`);
  return ledger(id);
}

/** The outcomes in the ledger, once nothing is in flight any more. */
export async function outcomes(id) {
  const rows = await ledger(id);
  for (const deadline = Date.now() + 10_000; ; await pause(50)) {
    const text = await (await fetch(metrics)).text();
    if (/^llm_gateway_in_flight_requests 0$/m.test(text)) return rows.map((row) => row.outcome);
    if (Date.now() > deadline) throw new Error("a call is still in flight");
  }
}
