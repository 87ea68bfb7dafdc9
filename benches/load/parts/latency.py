"""Latency that the proxy adds, open loop: requests are due at a fixed rate and latencies count from then (no coordinated
omission). Measured by the package's own client (`client.offered`), less what the same client measures without a proxy; a
c of 1 is one connection. With a slow upstream the rate decides how many are in flight: 60 ms keep 120 at 2,000 a second and
500 at 8,333; 2,000 in flight are 2,000 a second of a whole second each, because with 60 ms they would be 33,333 a second, more than
one processor of load can ask. A proxy that cannot keep up has latencies of seconds here."""
import statistics

from .. import client
from ..quantiles import at
from ..report.rows import Goal, Row
from ..upstream import body

# Name, model, requests a second, connections.
LOADS = (("c=1, 500/s", "echo", 500, 1), ("c=1, 2,000/s", "echo", 2000, 1),
         ("120 in flight, 60 ms, 2,000/s", "slow:ms=60", 2000, 1000),
         ("500 in flight, 60 ms, 8,333/s", "slow:ms=60", 500 / 0.06, 1500),
         ("2,000 in flight, 1 s, 2,000/s", "slow:ms=1000", 2000, 3000))
SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}


def run(bench):
    rows = []
    for name, model, rate, connections in LOADS:
        targets = [bench.direct, *bench.all()]
        found = {target.name: {part: [] for part in SHARES} for target in targets}
        for _ in range(bench.options.rounds):
            for target in targets:
                times = client.offered(target, body(target.model(model)), rate, bench.options.seconds, connections)
                # The first requests find everything cold.
                times = times[len(times) // 5:]
                for part, share in SHARES.items():
                    found[target.name][part].append(at(times, share) * 1e6)
        for part in SHARES:
            medians = {who: statistics.median(parts[part]) for who, parts in found.items()}
            direct = medians.pop("direct")
            added = {who: value - direct for who, value in medians.items()}
            goal = Goal(100, "difference") if (name, part) == ("c=1, 500/s", "p99") else None
            rows.append(Row(f"added {part}, {name}", "us", added, goal, digits=0, plot=["latency", f"{name}|{part}"]))
    return rows
