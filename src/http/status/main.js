// Signing in, and looking again and again: every two seconds, less often while nobody answers, never while hidden.

import { Refused, get, signIn, signOut, signedIn } from "./api.js";
import * as keys from "./keys.js";
import * as overview from "./overview.js";
import * as playground from "./playground.js";
import { $, say } from "./view.js";

const EVERY_MS = 2_000;
const EVERY_MS_MOST = 30_000;
/** Sums and keys change slowly: they are asked for at every so many looks. */
const SLOW = 4;

let timer = null;
let looking = false;
let again = false;
let looks = 0;
let failures = 0;

async function look() {
  clearTimeout(timer);
  if (!signedIn() || document.hidden) return;
  if (looking) {
    again = true;
    return;
  }
  looking = true;
  try {
    if (looks % SLOW === 0) {
      await overview.showBudgets(await keys.showKeys());
      await overview.showSpend();
    }
    const [status] = await Promise.all([overview.showStatus(), overview.showProviders(), overview.showRequests()]);
    playground.serveFrom(status.listen);
    looks += 1;
    if (failures) say("notice", "");
    failures = 0;
  } catch (error) {
    if (error instanceof Refused && error.status === 401) {
      leave("The admin key is not taken any more.");
    } else {
      failures += 1;
      say("notice", `${error.message} Trying again.`);
    }
  }
  looking = false;
  if (!signedIn()) return;
  const wait = again ? 0 : Math.min(EVERY_MS * 2 ** failures, EVERY_MS_MOST);
  again = false;
  timer = setTimeout(look, wait);
}

/** Looks at everything now. */
function lookAtAll() {
  looks = 0;
  look();
}

function enter() {
  $("sign-in").hidden = true;
  $("app").hidden = false;
  $("sign-out").hidden = false;
  lookAtAll();
}

function leave(why) {
  signOut();
  clearTimeout(timer);
  keys.forget();
  playground.forget();
  for (const body of document.querySelectorAll("tbody, #tiles, #chart, #budgets")) {
    body.replaceChildren();
    delete body.dataset.print;
  }
  say("about", "");
  $("app").hidden = true;
  $("sign-out").hidden = true;
  $("sign-in").hidden = false;
  say("notice", why);
  $("admin-key").focus();
}

$("sign-in-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  signIn($("admin-key").value.trim());
  $("admin-key").value = "";
  try {
    await get("/status");
    say("notice", "");
    enter();
  } catch (error) {
    leave(error.status === 401 ? "That is not the admin key." : error.message);
  }
});
$("sign-out").addEventListener("click", () => leave("Signed out."));
$("only-errors").addEventListener("change", look);
document.addEventListener("visibilitychange", look);
keys.start({ changed: lookAtAll, use: playground.use });
playground.start();
if (signedIn()) enter();
else $("admin-key").focus();
