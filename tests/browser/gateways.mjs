// Gateways under test: started on free ports, ended in order, killed if they do not end.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const PATIENCE_MS = 20_000;

/** Starts the binary and gives what it said once `ready` finds it. */
async function started(args, options, ready) {
  const child = spawn(process.env.GATEWAY_BINARY, args, { stdio: ["ignore", "pipe", "pipe"], ...options });
  let said = "";
  const found = await new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`not ready in time: ${said}`)), PATIENCE_MS);
    const hear = (bytes) => {
      said += bytes;
      const facts = ready(said);
      if (facts) {
        clearTimeout(late);
        resolve(facts);
      }
    };
    child.stdout.on("data", hear);
    child.stderr.on("data", hear);
    child.on("exit", (code) => reject(new Error(`ended with ${code}: ${said}`)));
  });
  const stop = () =>
    new Promise((resolve) => {
      const late = setTimeout(() => child.kill("SIGKILL"), PATIENCE_MS);
      child.on("exit", () => {
        clearTimeout(late);
        resolve();
      });
      child.kill("SIGINT");
    });
  return { ...found, stop };
}

/** `llm-gateway demo`. */
export function demo() {
  const field = (said, name) => said.match(new RegExp(`^ {2}${name} +(\\S+)`, "m"))?.[1];
  return started(["demo", "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"], {}, (said) =>
    said.includes("Ctrl-C stops it") && {
      page: field(said, "page"), api: new URL(field(said, "API")).origin, key: field(said, "API key"), admin: field(said, "admin key"),
    });
}

/** A gateway whose only provider refuses connections. */
export async function broken() {
  const folder = mkdtempSync(join(tmpdir(), "gateway-"));
  writeFileSync(join(folder, "g.yaml"), `admin_key: for-the-browser
server: { listen: "127.0.0.1:0", workers: 1 }
ops: { listen: "127.0.0.1:0" }
data_dir: data
providers: { down: { base_url: "http://127.0.0.1:1/v1", auth: none, breaker: { consecutive_failures: 3 } } }
`);
  const ready = (said) => {
    const line = said.split("\n").find((line) => line.includes('"ready"') && line.endsWith("}"));
    const told = line && JSON.parse(line);
    return told && { page: told.page, api: `http://${told.listen}`, admin: "for-the-browser" };
  };
  const gateway = await started(["serve", "--config", "g.yaml"], { cwd: folder }, ready);
  const { stop } = gateway;
  return { ...gateway, stop: () => stop().then(() => rmSync(folder, { recursive: true, force: true })) };
}

/** One management call. */
export async function manage(gateway, method, path, body) {
  const response = await fetch(`${gateway.page}admin/v1${path}`, {
    method,
    headers: { authorization: `Bearer ${gateway.admin}`, "content-type": "application/json" },
    body: body && JSON.stringify(body),
  });
  return response.json();
}

/** One chat completion; gives the status. */
export async function chat(gateway, key, model, content = "hello") {
  const response = await fetch(`${gateway.api}/v1/chat/completions`, {
    method: "POST",
    headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
    body: JSON.stringify({ model, messages: [{ role: "user", content }] }),
  });
  await response.text();
  return response.status;
}
