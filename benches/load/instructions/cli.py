"""The command line of scripts/count-instructions."""
import argparse
import json
import pathlib
import sys
import time

from .. import machine
from ..cli import built
from . import count, report

KEPT = machine.ROOT / "docs" / "benchmarks" / "instructions.json"
# How far the cell's instructions may be from what is kept.
TOLERANCE = 0.03
TOP = 25


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/count-instructions", description=__doc__)
    add = parser.add_argument
    add("--binary", help="count this binary instead of building one; it needs its symbols")
    add("--profile", default="release", help="how the binary was built: each profile has numbers of its own [%(default)s]")
    add("--requests", type=int, default=1000, help="requests; twice as many in the second run [%(default)s]")
    add("--streams", type=int, default=40, help="streams of 50 events; of 100 in the second run [%(default)s]")
    add("--repeat", type=int, default=1, help="count so often and show how far it varies [%(default)s]")
    add("--callers", metavar="PART", help="also show who calls functions with this in their names, e.g. memset")
    add("--write", action="store_true", help=f"keep what was counted in {KEPT.relative_to(machine.ROOT)}, and of a release where it goes in profile.md")
    return parser.parse_args()


def summary(found):
    """Numbers for each request and event."""
    return {kind: {"cell_instructions": round(cell.total() / per), "other_instructions": round(others.total() / per),
                   "cell_allocations": round(cell.allocations() / per, 2), "other_allocations": round(others.allocations() / per, 2)}
            for kind, (cell, others, per) in found.items()}


def show(found, callers):
    """Totals, where they go, and who calls `callers`."""
    for kind, numbers in summary(found).items():
        cell, _, per = found[kind]
        print(f"\n## one {kind}: " + ", ".join(f"{name.replace('_', ' ')} {value:,}" for name, value in numbers.items()) + "\n")
        for name, own in cell.own.most_common(TOP):
            print(f"{own / per:10,.0f}  {own / cell.total():6.1%}  {name[:150]}")
        for caller, (calls, own) in cell.callers(callers)[:TOP] if callers else ():
            print(f"{own / per:10,.0f} in {calls / per:.2f} calls of {callers} by {caller[:130]}")
        sys.stdout.flush()


def compare(numbers, all_kept, profile):
    """Prints how far it is from what is kept; gives the exit code."""
    if profile not in all_kept:
        print(f"\nnothing to compare with: --write keeps what was counted in {KEPT.relative_to(machine.ROOT)}")
        return 0
    code = 0
    for kind, was in all_kept[profile]["counts"].items():
        now, was = numbers[kind]["cell_instructions"], was["cell_instructions"]
        change = now / was - 1
        beyond = abs(change) > TOLERANCE
        code = 1 if beyond else code
        more = f"beyond {TOLERANCE:.0%}; --write keeps the new number if it is meant" if beyond else "within bounds"
        print(f"{kind}: {now:,} instructions of the cell, {was:,} kept, {change:+.1%}: {more}")
    return code


def main():
    options = arguments()
    machine.need("valgrind")
    if options.profile != "release" and not options.binary:
        sys.exit("error: only a release is built here; name another binary with --binary")
    binary = str(pathlib.Path(options.binary).resolve()) if options.binary else built()
    runs, began = [], time.monotonic()
    for _ in range(options.repeat):
        found = count.measure(binary, options.requests, options.streams)
        runs.append(summary(found))
        show(found, options.callers)
    for kind in runs[0] if len(runs) > 1 else ():
        for name in runs[0][kind]:
            values = [run[kind][name] for run in runs]
            print(f"{kind}, {name.replace('_', ' ')}: {min(values):,} to {max(values):,}, {(max(values) / min(values) - 1) if min(values) else 0:.2%} apart")
    print(f"\n{time.monotonic() - began:.0f} s")
    numbers = sorted(runs, key=lambda run: run["request"]["cell_instructions"])[len(runs) // 2]
    all_kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    if options.write:
        KEPT.parent.mkdir(parents=True, exist_ok=True)
        versions = {"llm-gateway": machine.first_line(binary, "version").removeprefix("llm-gateway "),
                    "valgrind": machine.first_line("valgrind", "--version"), "machine": machine.description()}
        all_kept[options.profile] = {"counts": numbers, **versions}
        if options.profile == "release":
            both = {"counted": found, "bare": count.measure(binary, options.requests, options.streams, "bare")}
            report.write(both, {name: summary(one) for name, one in both.items()}, versions)
        KEPT.write_text(json.dumps(all_kept, indent=1, sort_keys=True) + "\n")
        return 0
    return compare(numbers, all_kept, options.profile)
