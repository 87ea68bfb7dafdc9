"""CPU time per streamed event, 64 streams, closed loop (wrk); and jitter: how far the time between two events is from the
20 ms that the upstream waits between them, of 64 streams."""
import statistics

from .. import client
from ..quantiles import at
from ..report.rows import Goal, Row
from ..upstream import FRAME_EVENTS, body, drip
from ..wrk import micros, over, turns

STREAMS, EVENTS = 64, 50
PACE_MS = 20


def run(bench):
    rows = []
    for ms in (5, 0):
        runs = turns(bench.all(), bench.options, drip(EVENTS, ms), STREAMS, stream=True)
        name = f"{ms} ms apart" if ms else "back to back"
        rows.append(Row(f"CPU per event, {name}, {STREAMS} streams", "us", over(runs, lambda of: micros(of, EVENTS + FRAME_EVENTS)),
            Goal(1.2, "ratio"), plot=["cpu", f"event, {name}"]))
    return rows + jitter(bench)


def jitter(bench):
    targets = [bench.direct, *bench.all()]
    found = {target.name: [] for target in targets}
    for _ in range(bench.options.rounds):
        for target in targets:
            payload = body(target.model(drip(EVENTS, PACE_MS)), stream=True)
            seen = client.streams(target, payload, STREAMS, spread=0.5)
            found[target.name].append(at([abs(gap * 1000 - PACE_MS) for gap in seen.gaps], 0.99))
    medians = {name: statistics.median(values) for name, values in found.items()}
    direct = medians.pop("direct")
    return [Row(f"jitter between events, p99 ({direct:.2f} ms without a proxy)", "ms", medians, digits=2)]
