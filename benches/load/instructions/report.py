"""docs/benchmarks/profile.md: where the instructions of a request and of an event go, in both profiles."""
import re
from collections import Counter

from .. import machine

FILE = machine.ROOT / "docs" / "benchmarks" / "profile.md"
INTRODUCTION = """# Where the instructions go

Written by `scripts/count-instructions --write`; do not edit. Counted by callgrind in the thread of a cell, for one request more
of the same kind (and one streamed event more), so that starting and warming up are left out; what the kernel does is not
counted. **governed** has a key with limits and a budget, journal, ledger, metrics and a line of the log for each call;
**bare** the least that the configuration allows. [tuning.md](tuning.md) says what was changed because of it, and what came of it.

{versions}
"""
TITLES = {"counted": "governed", "bare": "bare"}
PARTS, FUNCTIONS, INCLUSIVE = 20, 20, 30
# What the compiler names by a type and not by a module.
DROPS = re.compile(r"core::ptr::drop_in_place")
MODULE = re.compile(r"^[<&(]*(?:dyn |mut )*([a-z_0-9]+)(?:::([a-z_0-9]+))?")


def module(function):
    """Crate, or module of ours, that a function belongs to."""
    if DROPS.match(function):
        return "dropping values"
    found = MODULE.match(function)
    if not found:
        return "other"
    crate, inner = found.groups()
    if re.match(r"_?mi_", crate):
        return "mimalloc"
    if crate.startswith("__") or function == crate:
        return "C library"
    return f"llm_gateway::{inner}" if crate == "llm_gateway" and inner else crate


def rows(title, counter, per, most, total):
    """A table of the largest."""
    yield f"| {title} | instructions | share |"
    yield "|---|---:|---:|"
    for name, count in counter.most_common(most):
        yield f"| `{name[:110].replace('|', '/')}` | {count / per:,.0f} | {count / total:.1%} |"
    yield ""


def inclusive(profile):
    """With all that they call: functions of ours, and those of the servers that call them."""
    found = Counter()
    for (caller, called), count in profile.within.items():
        if caller != called and "llm_gateway" in called:
            found[called] += count
    return found


def write(found, summaries, versions):
    """`found` and `summaries` by profile."""
    said = ", ".join(f"{name} {value}" for name, value in sorted(versions.items()))
    lines = [INTRODUCTION.format(versions=said)]
    lines += ["| profile | of | instructions of the cell | of other threads | allocations of the cell | of other threads |",
              "|---|---|---:|---:|---:|---:|"]
    for profile, numbers in summaries.items():
        for kind, row in numbers.items():
            lines.append(f"| {TITLES[profile]} | one {kind} | " + " | ".join(f"{value:,}" for value in row.values()) + " |")
    lines.append("")
    for profile, kinds in found.items():
        for kind, (cell, _, per) in kinds.items():
            lines.append(f"## One {kind}, {TITLES[profile]}\n")
            modules = Counter()
            for function, own in cell.own.items():
                modules[module(function)] += own
            lines += rows("module", modules, per, PARTS, cell.total())
            lines += rows("function, by itself", cell.own, per, FUNCTIONS, cell.total())
            lines += rows("function of ours, with all that it calls", inclusive(cell), per, INCLUSIVE, cell.total())
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text("\n".join(lines).rstrip() + "\n")
