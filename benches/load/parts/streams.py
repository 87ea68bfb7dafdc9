"""Streams held, an event each second for 10 s: those with a gap of more than 1.5 s between two events, how late events are,
and memory, of proxies that were just started. One round; the streams begin evenly within a second or two."""
from .. import client
from ..quantiles import at
from ..report.rows import Goal, Row
from ..upstream import body, drip

COUNTS = (64, 512, 2000, 8000)
STALL = 1.5
# Starts a second at most: each costs the load's processor two connections and a request.
STARTS = 4000
EVENT = 1.0


def run(bench):
    targets = bench.fresh(bench.asked())
    counts = [count for count in COUNTS if count <= bench.options.streams]
    idle = {target.name: target.process.rss() for target in targets}
    rows = [Row("RSS idle", "MiB", idle, Goal(20), plot=["memory", 0])]
    for count in counts:
        if count * 2 + 1000 > bench.options.descriptors:
            bench.say(f"left out: {count} streams ({bench.options.descriptors} descriptors allowed; root may raise it)")
            continue
        held = {target.name: hold(bench, target, count) for target in targets}
        pick = lambda at_: {name: values[at_] for name, values in held.items()}
        largest = count == COUNTS[-1]
        rows += [Row(f"{count:,} streams: stalled or failed", "", pick(0), Goal(0) if largest else None, digits=0),
            Row(f"{count:,} streams: p99 of the gaps", "ms", pick(1), digits=0),
            Row(f"{count:,} streams: slowest first event", "ms", pick(2), digits=0),
            Row(f"{count:,} streams: RSS at most", "MiB", pick(3), Goal(150) if count == 2000 else None, plot=["memory", count])]
    after = {target.name: target.process.rss() for target in targets}
    for target in targets:
        target.process.end()
    return rows + [Row("RSS after", "MiB", after)]


def hold(bench, target, count):
    """Streams that stalled or failed, p99 of the gaps, the slowest first event (milliseconds), and the peak of memory (MiB)."""
    peak = [target.process.rss()]
    seen = client.streams(target, body(target.model(drip(10, 1000)), stream=True), count, spread=max(EVENT, count / STARTS),
        stall=STALL, watch=lambda: peak.append(target.process.rss()), tolerant=True)
    if seen.failed:
        bench.say(f"{target.name}: {len(seen.failed)} of {count} streams failed, the first: {seen.failed[0]}")
    return seen.stalled + len(seen.failed), at(seen.gaps, 0.99) * 1000, max(seen.first, default=0) * 1000, max(peak)
