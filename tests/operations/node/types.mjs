// Holds every dashboard against Grafana's types: `const it: DashboardJson = <the file>`, for the TypeScript compiler.
// Usage: node types.mjs FOLDER_OF_DASHBOARDS, from a folder that has node_modules and dashboard.ts.
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";

const [from] = process.argv.slice(2);
const files = readdirSync(from).filter((name) => name.endsWith(".json"));
if (files.length === 0) throw new Error(`no dashboards in ${from}`);
rmSync("typed", { recursive: true, force: true });
mkdirSync("typed");
for (const name of files) {
  const text = readFileSync(join(from, name), "utf8");
  writeFileSync(join("typed", `${basename(name, ".json")}.ts`), `import type { DashboardJson } from "../dashboard.ts";\nexport const it: DashboardJson = ${text};\n`);
}
// One that is wrong in four places must be refused at each: the check itself is checked.
writeFileSync(join("typed", "wrong.ts"), wrong());
const options = ["--noEmit", "--strict", "--skipLibCheck", "--module", "nodenext", "--target", "es2022", "--allowImportingTsExtensions", "--types", ""];
const tsc = (names) => spawnSync(process.execPath, [join("node_modules", "typescript", "bin", "tsc"), ...options, ...names], { encoding: "utf8" });

const bad = tsc(["typed/wrong.ts"]);
const found = [4, 5, 6, 7].filter((line) => bad.stdout.includes(`wrong.ts(${line},`));
if (found.length !== 4) {
  console.error(`error: of four mistakes only those in lines ${found} were found\n${bad.stdout}${bad.stderr}`);
  process.exit(1);
}
const good = tsc(files.map((name) => join("typed", `${basename(name, ".json")}.ts`)));
process.stdout.write(good.stdout + good.stderr);
console.log(`${files.length} dashboards have Grafana's types: ${good.status === 0 ? "yes" : "NO"}`);
process.exit(good.status === 0 ? 0 : 1);

function wrong() {
  const panel = `id: 1, title: "", description: "", targets: [], fieldConfig: { defaults: { unit: "s" }, overrides: [] }`;
  const legend = `legend: { calcs: [], displayMode: "table", placement: "bottom", showLegend: true }`;
  return `import type { DashboardJson } from "../dashboard.ts";
type Panels = DashboardJson["panels"];
const tooltip = { mode: "multi", sort: "desc" } as const;
export const option: Panels = [{ type: "timeseries", ${panel}, options: { ${legend}, tooltip, legned: 1 } }];
export const value: Panels = [{ type: "timeseries", ${panel}, options: { ${legend}, tooltip: { mode: "many", sort: "desc" } } }];
export const kind: Panels = [{ type: "graph", ${panel}, options: {} }];
export const version: DashboardJson["schemaVersion"] = 36;
`;
}
