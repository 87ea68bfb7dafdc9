"""Time to the first content of a stream that the proxy adds, 32 streams at a time, each begun anew when it has ended; less
what the same client measures without a proxy."""
import statistics

from .. import client
from ..quantiles import at
from ..report.rows import Goal, Row
from ..upstream import body, drip

STREAMS = 32
SHARES = {"p50": 0.5, "p99": 0.99}


def run(bench):
    targets = [bench.direct, *bench.all()]
    found = {target.name: {part: [] for part in SHARES} for target in targets}
    for _ in range(bench.options.rounds):
        for target in targets:
            payload = body(target.model(drip(10, 5)), stream=True)
            # Of each connection's first stream the connection is part, on both sides of the proxy.
            seen = client.streams(target, payload, STREAMS, spread=0.05, seconds=bench.options.seconds)
            for part, share in SHARES.items():
                found[target.name][part].append(at(seen.first[STREAMS:] or seen.first, share) * 1000)
    rows = []
    for part in SHARES:
        medians = {who: statistics.median(parts[part]) for who, parts in found.items()}
        direct = medians.pop("direct")
        added = {who: value - direct for who, value in medians.items()}
        rows.append(Row(f"TTFT added, {part}, {STREAMS} streams", "ms", added, Goal(0.3) if part == "p99" else None, digits=3))
    return rows
