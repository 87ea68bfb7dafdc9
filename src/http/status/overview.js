// What the process does: numbers of the last minute, providers, money, requests.

import { get } from "./api.js";
import { $, count, el, ms, pairs, percent, rate, say, span, table, time, usd, word } from "./view.js";
import { nameOf } from "./keys.js";

const SVG = "http://www.w3.org/2000/svg";
const STATES = { healthy: "good", ok: "good", closed: "good", usable: "good", unknown: "quiet", degraded: "warn", down: "bad", open: "bad" };
const coloured = (text) => word(text, STATES[text] ?? "warn");

export async function showStatus() {
  const status = await get("/status");
  say("about", `${status.version} · ${status.stage} · up ${span(status.uptime_s)}`);
  pairs("tiles", [
    ["Requests per second, 10 s", rate(status.calls_per_s.last_10s)],
    ["Requests per second, 60 s", rate(status.calls_per_s.last_60s)],
    ["In flight", count(status.in_flight)],
    ["Failed, 60 s", percent(status.error_rate)],
    ["Duration p50 / p95", `${ms(status.duration_ms.p50)} / ${ms(status.duration_ms.p95)}`],
    ["First token p50 / p95", `${ms(status.ttft_ms.p50)} / ${ms(status.ttft_ms.p95)}`],
    ["Charged, 60 s", usd(status.charged_usd_last_60s)],
    ["Store", status.store],
    ["Journal", `${status.journal}, ${status.journal_lag_s} s behind`],
    ["Receipts not settled", count(status.unsettled_receipts)],
    ["Redis", status.redis ?? "not used"],
    ["Memory", status.memory],
  ], true);
  draw(status.series);
  return status;
}

/** Bars of the last minute, one per second; what failed is drawn over what ended. */
function draw({ calls, failed }) {
  const most = Math.max(1, ...calls);
  const print = JSON.stringify([calls, failed]);
  if ($("chart").dataset.print === print) return;
  $("chart").dataset.print = print;
  const drawing = document.createElementNS(SVG, "svg");
  const total = calls.reduce((sum, one) => sum + one, 0);
  drawing.setAttribute("viewBox", `0 0 ${calls.length} 100`);
  drawing.setAttribute("preserveAspectRatio", "none");
  drawing.setAttribute("role", "img");
  drawing.setAttribute("aria-label", `Requests by second over the last minute: ${total} in all, at most ${Math.max(...calls)} in a second`);
  for (const [kind, counts] of [["calls", calls], ["failed", failed]]) {
    counts.forEach((number, at) => {
      if (!number) return;
      const bar = document.createElementNS(SVG, "rect");
      const height = (number / most) * 95;
      for (const [name, value] of Object.entries({ x: at + 0.1, y: 100 - height, width: 0.8, height, class: kind })) bar.setAttribute(name, value);
      drawing.append(bar);
    });
  }
  $("chart").replaceChildren(drawing);
}

export async function showProviders() {
  const { data } = await get("/providers");
  // Hundreds are shipped; those that were never asked and have no credential are of no interest here.
  const shown = data.filter((one) => one.has_credential || one.targets.length || one.health !== "unknown");
  const rows = shown.flatMap((provider) => {
    const head = [provider.id, coloured(provider.health), `${provider.in_flight} / ${provider.in_flight_limit}`, `${provider.queued}`];
    if (!provider.targets.length) return [[...head, "not asked yet", "-", "-", "-"]];
    return provider.targets.map((target, at) => [
      ...(at === 0 ? head : [word(provider.id, "quiet"), "", "", ""]),
      target.upstream_model,
      coloured(target.ejected_for_ms === null ? target.breaker : `${target.breaker}, out for ${ms(target.ejected_for_ms)}`),
      percent(target.success_rate),
      ms(target.ttft_ms),
    ]);
  });
  table("provider-table", ["Provider", "Health", "In flight#", "Queued#", "Model", "Breaker", "Success#", "First token#"], rows, "No provider has a credential yet.");
}

/** Midnight in UTC, as the ledger counts. */
const midnight = () => `${new Date().toISOString().slice(0, 10)}T00:00:00Z`;

export async function showSpend() {
  const from = encodeURIComponent(midnight());
  const [models, keys] = await Promise.all([get(`/usage?from=${from}&group_by=model`), get(`/usage?from=${from}&group_by=key`)]);
  const total = models.data.reduce((sum, row) => sum + Number(row.charged_usd), 0);
  say("spend-total", usd(total));
  const rows = (data, name) =>
    data.toSorted((a, b) => Number(b.charged_usd) - Number(a.charged_usd)).map((row) => [
      name(row), count(row.requests), count(row.errors), count(row.prompt_tokens + row.completion_tokens), usd(row.charged_usd),
    ]);
  const heads = ["Requests#", "Failed#", "Tokens#", "Charged#"];
  table("by-model", ["Model", ...heads], rows(models.data, (row) => row.model), "Nothing yet today.");
  table("by-key", ["Key", ...heads], rows(keys.data, (row) => nameOf(row.key)), "Nothing yet today.");
}

/** How much is left of every budget that is known: of keys, projects and sets of tags. */
export async function showBudgets(keys) {
  const groups = (path) => get(`/${path}?limit=100`).then(({ data }) => data);
  const [projects, tags] = await Promise.all([groups("projects"), groups("tag-sets")]);
  const named = [["Key", keys], ["Project", projects], ["Tags", tags]];
  const held = named.flatMap(([kind, payers]) =>
    payers.filter((payer) => payer.budget && !payer.revoked_at && !payer.deleted_at).map((payer) => [`${kind} ${payer.name}`, payer]));
  const items = held.map(([name, payer]) => {
    const { limit_usd: limit, period } = payer.budget;
    const status = payer.budget_status;
    const spent = Number(status?.spent_usd ?? 0);
    const until = status?.window_end ? `, until ${status.window_end.slice(0, 10)}` : "";
    const text = `${name}: ${usd(spent)} of ${usd(limit)} spent (${period}${until}), ${usd(status?.left_usd)} left`;
    const bar = el("progress", { max: Number(limit) || 1, value: Math.min(spent, Number(limit)) });
    bar.setAttribute("aria-label", `Spent of the budget of ${name}`);
    return el("li", {}, el("span", {}, text), bar);
  });
  const print = items.map((item) => item.textContent).join("\n");
  if ($("budgets").dataset.print === print) return;
  $("budgets").dataset.print = print;
  $("budgets").replaceChildren(...(items.length ? items : [el("li", { className: "quiet" }, "Nobody has a budget.")]));
}

export async function showRequests() {
  const { data } = await get(`/requests?limit=25${$("only-errors").checked ? "&outcome=failed" : ""}`);
  const kinds = { completed: "good", failed: "bad", cancelled: "quiet" };
  table(
    "request-table",
    ["Time (UTC)", "Key", "Asked for", "Answered by", "Outcome", "Status#", "First token#", "Duration#", "Tokens#", "Charged#", "Request"],
    data.map((row) => [
      time(row.time), nameOf(row.key_id), row.requested_model, `${row.provider}/${row.upstream_model}`,
      word(row.error ? `${row.outcome}: ${row.error}` : row.outcome, kinds[row.outcome]),
      row.status === null ? "-" : `${row.status}`, ms(row.ttft_ms), ms(row.duration_ms),
      count(row.prompt_tokens === null ? null : row.prompt_tokens + row.completion_tokens), usd(row.charged_usd), row.request_id,
    ]),
    "No requests yet.",
  );
}
