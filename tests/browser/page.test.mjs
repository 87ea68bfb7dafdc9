// The status page as a person meets it.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { after, afterEach, before, test } from "node:test";
import { chromium } from "playwright-core";
import { broken, chat, demo, manage } from "./gateways.mjs";

const CANARY = `<img src=x onerror="window.hurt=1"><script>window.hurt=1</script>`;
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

let browser, gateway, context, page, complaints;

before(async () => {
  [browser, gateway] = await Promise.all([
    chromium.launch({ executablePath: process.env.CHROMIUM, headless: true, args: FLAGS }),
    demo(),
  ]);
});
after(async () => {
  await browser?.close();
  await gateway?.stop();
});

/** A tab of its own; everything that a browser complains of, and every request to elsewhere, fails the test. */
async function open(at = gateway, options = {}) {
  context = await browser.newContext({ viewport: { width: 1100, height: 900 }, ...options });
  context.setDefaultTimeout(15_000);
  page = await context.newPage();
  complaints = [];
  const expected = /status of 401|status of 400|status of 50\d/;
  page.on("console", (said) => {
    if (["error", "warning"].includes(said.type()) && !expected.test(said.text())) complaints.push(said.text());
  });
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("dialog", (dialog) => dialog.accept());
  page.on("request", (request) => {
    const { origin } = new URL(request.url());
    if (![at.api, new URL(at.page).origin].includes(origin)) complaints.push(`a request to ${request.url()}`);
    if (request.url().includes(at.admin)) complaints.push("the admin key is in an address");
  });
  await page.goto(at.page);
}

async function enter(at = gateway, options = {}) {
  await open(at, options);
  await page.getByLabel("Admin key").fill(at.admin);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByText("Store").waitFor();
}

const told = (locator, text) => locator.filter({ hasText: text }).first().waitFor();
const play = async (key, model, message) => {
  await page.getByLabel("API key").fill(key);
  await page.getByLabel("Model", { exact: true }).fill(model);
  await page.getByLabel("Message").fill(message);
  await page.getByRole("button", { name: "Send" }).click();
};

afterEach(async () => {
  const hurt = await page?.evaluate(() => window.hurt);
  await context?.close();
  assert.deepEqual([complaints, hurt], [[], undefined]);
});

test("a wrong key is told, the right one opens the page and is kept in this tab only", async () => {
  await open();
  for (const wrong of ["wrong", "schlüssel"]) {
    await page.getByLabel("Admin key").fill(wrong);
    await page.keyboard.press("Enter");
    await told(page.locator("#notice"), "not the admin key");
    await page.evaluate(() => (document.getElementById("notice").textContent = ""));
  }
  await page.getByLabel("Admin key").fill(gateway.admin);
  await page.keyboard.press("Enter");
  await page.getByText("Store").waitFor();
  await page.reload();
  await page.getByText("Store").waitFor();
  assert.equal(await page.evaluate(() => localStorage.length + document.cookie.length), 0);
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByLabel("Admin key").waitFor();
  assert.equal(await page.evaluate(() => sessionStorage.length), 0);
});

test("numbers follow what is called", async () => {
  await enter();
  for (let n = 0; n < 5; n += 1) assert.equal(await chat(gateway, gateway.key, "stub/echo"), 200);
  assert.equal(await chat(gateway, gateway.key, "stub/error"), 502);
  await told(page.locator("#request-table"), "failed");
  await told(page.locator("#provider-table"), "echo");
  await page.waitForFunction(() => document.querySelectorAll("#chart rect").length > 0);
  await page.getByLabel("Only those that failed").check();
  await page.waitForFunction(() => ![...document.querySelectorAll("#request-table tbody tr")].some((row) => row.textContent.includes("completed")));
  await told(page.locator("#by-model"), "echo");
  await told(page.locator("#by-key"), "demo");
});

test("a key is made, used and revoked, and what it is called is never markup", async () => {
  await enter();
  await page.getByText("Make a key").click();
  await page.getByLabel("Name", { exact: true }).fill(CANARY);
  await page.getByLabel("Budget in USD").fill("2.50");
  await page.getByRole("button", { name: "Make the key" }).click();
  const key = await page.locator("#fresh-key").textContent();
  await told(page.locator("#budgets"), "of $2.50 spent");
  await page.getByRole("button", { name: "Use in the playground" }).click();
  assert.equal(await page.getByLabel("API key").inputValue(), key);
  assert.equal(await chat(gateway, key, "stub/echo", CANARY), 200);
  // An upstream is asked for whatever name it was: the name comes back in the ledger.
  await chat(gateway, key, `stub/${CANARY}`);
  await told(page.locator("#request-table"), "onerror");
});

test("budgets of projects and of sets of tags are shown beside those of keys", async () => {
  await manage(gateway, "POST", "/projects", { name: "web", budget: { limit_usd: "40", period: "month" } });
  await manage(gateway, "POST", "/tag-sets", { tags: { team: "search" }, budget: { limit_usd: "7", period: "day" } });
  await enter();
  await told(page.locator("#budgets"), "Project web: $0 of $40.00 spent");
  await told(page.locator("#budgets"), "Tags team=search: $0 of $7.00 spent");
});

test("a key that is revoked is not taken any more", async () => {
  const made = await manage(gateway, "POST", "/keys", { name: "short-lived" });
  await enter();
  await page.getByRole("button", { name: "New text for short-lived" }).click();
  const key = await page.locator("#fresh-key").textContent();
  assert.notEqual(key, made.key);
  assert.equal(await chat(gateway, made.key, "stub/echo"), 401);
  assert.equal(await chat(gateway, key, "stub/echo"), 200);
  await page.getByRole("button", { name: "Revoke short-lived" }).click();
  await told(page.locator("#notice"), "is revoked");
  assert.equal(await chat(gateway, key, "stub/echo"), 401);
});

test("the playground streams as it comes, stops when told, and says what it cost", async () => {
  await enter();
  await play(gateway.key, "stub/drip:events=600,ms=50", "on and on");
  const length = () => page.locator("#play-answer").evaluate((answer) => answer.textContent.length);
  await page.waitForFunction(() => document.getElementById("play-answer").textContent.length > 0);
  const first = await length();
  await page.waitForFunction((first) => document.getElementById("play-answer").textContent.length > first, first);
  await told(page.locator("#tiles"), /In flight1/);
  await page.getByRole("button", { name: "Stop" }).click();
  await told(page.locator("#play-state"), "Stopped.");
  await told(page.locator("#tiles"), /In flight0/);

  await play(gateway.key, "stub/reasoning", CANARY);
  await told(page.locator("#play-state"), "Done.");
  assert.ok((await page.locator("#play-reasoning").textContent()).length > 0);
  const facts = await page.locator("#play-facts").textContent();
  assert.match(facts, /Providerstub.*Attempts1.*Requestreq_.*in, .* out.*Cost\$0\.0/);

  await play("sk-wrong", "stub/echo", "hello");
  await told(page.locator("#play-error"), /key/i);
});

test("a breaker that opens is shown", async () => {
  const down = await broken();
  try {
    const { key } = await manage(down, "POST", "/keys", { name: "a" });
    for (let n = 0; n < 4; n += 1) await chat(down, key, "down/m");
    await enter(down);
    await told(page.locator("#provider-table"), "open");
  } finally {
    await down.stop();
  }
});

for (const colorScheme of ["light", "dark"]) {
  test(`the page is accessible and fits into 400 pixels, ${colorScheme}`, async () => {
    await chat(gateway, gateway.key, "stub/echo");
    await enter(gateway, { viewport: { width: 400, height: 800 }, colorScheme, reducedMotion: "reduce" });
    await told(page.locator("#request-table"), "completed");
    const wide = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(wide <= 400, `${wide} pixels wide`);
    // Through the debugger: the page's own policy would forbid it.
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() => axe.run());
    const serious = violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
    assert.deepEqual(serious.map(({ id, nodes }) => [id, nodes[0].html]), []);
    const back = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    assert.equal(back === "rgb(255, 255, 255)", colorScheme === "light");
  });
}

test("the policy forbids scripts that are not the page's own", async () => {
  await enter();
  const blocked = page.waitForEvent("console", (said) => said.text().includes("Content Security Policy"));
  await page.evaluate(() => document.body.append(Object.assign(document.createElement("script"), { textContent: "window.hurt = 1" })));
  await blocked;
  complaints.length = 0;
  if (process.env.PICTURE) await page.screenshot({ path: process.env.PICTURE });
});
