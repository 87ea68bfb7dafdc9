"""docs/benchmarks: figures.json with all that was measured, by part, and README.md and the plots made of it."""
import json
import subprocess

from .. import machine
from ..peers import PEERS
from . import plots
from .rows import Row
from .table import table

FOLDER = machine.ROOT / "docs" / "benchmarks"
INTRODUCTION = """# Benchmarks

Written by `scripts/bench --write`; do not edit. Each proxy runs alone on one processor, the upstream (`llm-gateway stub`) and the
load on another, and they take turns in every round; a figure is the median of its rounds. CPU time is what the kernel booked
for the proxy, its helpers' (PostgreSQL, Redis, the collector) apart. Latencies that are *added* are those through the proxy
less those without, from the same client. On a machine that others use, ratios mean more than figures.

Targets: **nginx**, a plain reverse proxy with pooled upstream connections, no log. **bare**: the gateway with the least that
its configuration allows (log level `error`, a key without limits). **governed**: a key with requests and tokens per minute,
calls at a time and a budget, so that money is reserved and settled for each call; journal, ledger in SQLite, metrics, a log line per call
into a pipe that is read, and 10 % of calls traced to a collector. **governed, PostgreSQL + Redis**: the same with keys and
ledger in PostgreSQL and limits and budgets shared over Redis.

To run it again: install nginx and wrk (PostgreSQL, Redis and other gateways take part where they are installed; `scripts/bench
--install-peers` installs the latter), then `scripts/bench --write`. `--only PART` measures one part and keeps the others'
figures. [benches/load](../../benches/load) has how each is measured.
"""


def part(rows, options, command, load):
    """What is kept of a part."""
    date = subprocess.run(["date", "-u", "+%Y-%m-%d %H:%M UTC"], capture_output=True, text=True, check=True).stdout.strip()
    return {"date": date, "command": command, "seconds": options.seconds, "rounds": options.rounds,
            "load_average": round(load, 1), "rows": [row.as_dict() for row in rows]}


def write(found, binary):
    """Puts the parts that were measured in place of those that were there, and makes everything anew."""
    from ..parts import PARTS
    FOLDER.mkdir(parents=True, exist_ok=True)
    kept = FOLDER / "figures.json"
    parts = json.loads(kept.read_text())["parts"] if kept.exists() else {}
    stamp = {"machine": machine.description(), "versions": machine.versions(binary)}
    parts |= {name: {**stamp, **of} for name, of in found.items()}
    if "peers" in found:
        of_peers = {name: f"{peer.VERSION} ({peer.LICENCE})" for name, peer in PEERS.items() if peer.installed()}
        parts["peers"]["versions"] = stamp["versions"] | of_peers
    parts = {name: parts[name] for name in PARTS if name in parts}
    kept.write_text(json.dumps({"parts": parts}, indent=1) + "\n")
    (FOLDER / "README.md").write_text(text(parts, PARTS))


def text(parts, modules):
    """The document."""
    rows = {name: [Row.of_dict(dict(row)) for row in of["rows"]] for name, of in parts.items()}
    goals = [row for of in rows.values() for row in of if row.goal]
    blocks = [INTRODUCTION]
    names = plots.draw([row for of in rows.values() for row in of], FOLDER)
    blocks += [f"![{title}]({name})" for name, title in names.items()]
    blocks.append(made_with(parts))
    if goals:
        blocks += ["## Goals", table(goals)]
    for name, of in parts.items():
        about = " ".join((modules[name].__doc__ or "").split())
        blocks += [f"## {name.capitalize()}", about, table(rows[name]), provenance(of)]
    return "\n\n".join(block.strip() for block in blocks) + "\n"


def provenance(of):
    """When, and how."""
    return f"{of['date']}; {of['rounds']} rounds of {of['seconds']} s each; load average {of['load_average']} before it."


def made_with(parts):
    """The machines and versions, each with the parts that were measured there, and the command that measured them."""
    places = {}
    for name, of in parts.items():
        versions = ", ".join(f"{tool} {version}" for tool, version in of["versions"].items())
        places.setdefault(f"{of['machine']}. {versions}. `{of['command']}`", []).append(name)
    return "\n".join(["## Measured on", "", *(f"- {', '.join(names)}: {place}" for place, names in places.items())])
