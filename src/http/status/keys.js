// Keys: made, given a new text, revoked. A key's text is shown once and then forgotten.

import { ask, get } from "./api.js";
import { $, count, day, el, say, table, usd, word } from "./view.js";

const PAGE = 100;
let pages = 1;
let known = new Map();
let hooks = { changed: () => {}, use: () => {} };

/** The name of a key, or its id while the list does not have it. */
export const nameOf = (id) => known.get(id)?.name ?? id ?? "-";

export async function showKeys() {
  const keys = [];
  let cursor = null;
  for (let page = 0; page < pages; page += 1) {
    const answer = await get(`/keys?limit=${PAGE}${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`);
    keys.push(...answer.data);
    cursor = answer.next_cursor;
    if (!cursor) break;
  }
  $("more-keys").hidden = !cursor;
  known = new Map(keys.map((key) => [key.id, key]));
  table("key-table", ["Name", "Project", "Begins with", "Limits", "Budget", "Made", "State", "Do"], keys.map(row), "No keys yet.");
  return keys;
}

function row(key) {
  const limits = [[key.rpm, "requests/min"], [key.tpm, "tokens/min"], [key.concurrency, "at once"]];
  const text = limits.filter(([limit]) => limit !== null).map(([limit, unit]) => `${count(limit)} ${unit}`).join(", ");
  const over = key.expires_at && new Date(key.expires_at) < new Date();
  const state = key.revoked_at ? word("revoked", "quiet") : over ? word("expired", "warn") : word("in use", "good");
  const budget = key.budget ? `${usd(key.budget.limit_usd)} per ${key.budget.period}` : "none";
  return [key.name, key.project, key.prefix, text || "none", budget, day(key.created_at), state, buttons(key)];
}

/** What can be done with a key; the configuration's own are changed there. */
function buttons(key) {
  if (key.revoked_at) return "";
  const rotate = el("button", { type: "button" }, "New text");
  rotate.setAttribute("aria-label", `New text for ${key.name}`);
  rotate.addEventListener("click", () => act(`Give ${key.name} a new text? The old one ends at once.`, "POST", `/keys/${key.id}/rotate`));
  const revoke = el("button", { type: "button" }, "Revoke");
  revoke.setAttribute("aria-label", `Revoke ${key.name}`);
  revoke.addEventListener("click", () => act(`Revoke ${key.name}? This cannot be taken back.`, "DELETE", `/keys/${key.id}`));
  const both = el("span", {}, rotate, " ", revoke);
  both.dataset.print = key.id;
  return both;
}

async function act(question, method, path) {
  if (!confirm(question)) return;
  try {
    const key = await ask(method, path);
    if (key.key) showOnce(key);
    else {
      $("fresh").replaceChildren();
      say("notice", `${key.name} is revoked.`);
    }
    hooks.changed();
  } catch (error) {
    say("notice", error.message);
  }
}

/** Shows a key's text until it is put away. */
function showOnce(key) {
  const text = el("code", { id: "fresh-key" }, key.key);
  const copy = el("button", { type: "button" }, "Copy");
  copy.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(key.key);
      copy.textContent = "Copied";
    } catch {
      // Without TLS only pages on this machine may write there.
      getSelection().selectAllChildren(text);
      copy.textContent = "Selected: press Ctrl+C";
    }
  });
  const use = el("button", { type: "button" }, "Use in the playground");
  use.addEventListener("click", () => hooks.use(key.key));
  const done = el("button", { type: "button" }, "Put away");
  done.addEventListener("click", () => $("fresh").replaceChildren());
  $("fresh").replaceChildren(el("div", {}, `The key of ${key.name}, shown this once:`), el("div", {}, text), copy, use, done);
}

async function make(event) {
  event.preventDefault();
  const number = (id) => ($(id).value === "" ? undefined : Number($(id).value));
  const text = (id) => $(id).value.trim() || undefined;
  const budget = text("key-budget");
  const body = {
    name: $("key-name").value,
    project: text("key-project"),
    rpm: number("key-rpm"),
    tpm: number("key-tpm"),
    concurrency: number("key-concurrency"),
    budget: budget && { limit_usd: budget, period: $("key-period").value },
  };
  const submit = event.submitter;
  if (submit) submit.disabled = true;
  try {
    showOnce(await ask("POST", "/keys", body));
    event.target.reset();
    $("key-error").textContent = "";
    hooks.changed();
  } catch (error) {
    $("key-error").textContent = error.message;
  } finally {
    if (submit) submit.disabled = false;
  }
}

/** `changed` is called after every change, `use` with a key's text. */
export function start(given) {
  hooks = given;
  $("key-period").append(...["month", "week", "day", "total"].map((period) => el("option", { value: period }, period)));
  $("key-form").addEventListener("submit", make);
  $("more-keys").addEventListener("click", () => {
    pages += 1;
    hooks.changed();
  });
}

/** Forgets what was shown. */
export function forget() {
  known = new Map();
  pages = 1;
  $("fresh").replaceChildren();
}
