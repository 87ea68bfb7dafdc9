"""CPU time per request by the length of its prompt (a system message; the answer is short), c=8, and the slope between the
shortest and the longest."""
from .. import gateway
from ..report.rows import Goal, Row
from ..wrk import micros, over, turns

SIZES = (("1 KB", 1_000), ("100 KB", 100_000), ("1 MB", 1_000_000))


def run(bench):
    rows, cpu = [], {}
    for name, size in SIZES:
        for target in bench.profiles():
            # A quarter of a million tokens each: a key's tokens of a minute are soon used up.
            target.key = gateway.new_key(target, gateway.PROFILES[target.name].limits)
        cpu[size] = over(turns(bench.all(), bench.options, "big:bytes=10", 8, prompt_bytes=size), micros)
        rows.append(Row(f"CPU per request, prompt of {name}", "us", cpu[size]))
    (_, least), *_, (_, most) = SIZES
    slope = {name: (cpu[most][name] - cpu[least][name]) * 1000 / (most - least) for name in cpu[most]}
    return rows + [Row("CPU per KB of prompt", "us", slope, Goal(0.6), digits=2)]
