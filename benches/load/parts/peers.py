"""Other gateways beside ours, each a process on one core before the same upstream. They check one key or none, and have neither
limits nor a ledger here. Streams are counted to their end, all 64 of them, because a slow gateway would leave most unfinished."""
import statistics

from .. import client
from ..peers import PEERS
from ..report.rows import Row
from ..upstream import FRAME_EVENTS, body, drip
from ..wrk import micros, over, rate, turns

STREAMS, EVENTS = 64, 50


def run(bench):
    started = [target for name, peer in PEERS.items() if (target := begin(bench, name, peer))]
    targets, rows = [*bench.fresh(["governed"]), *started], []
    idle = {target.name: target.process.rss() for target in targets}
    for connections in (8, 64):
        runs = turns(targets, bench.options, "echo", connections)
        rows.append(Row(f"CPU per request, c={connections}", "us", over(runs, micros)))
        rows.append(Row(f"requests per second, c={connections}", "", over(runs, rate), digits=0))
    rows.append(Row(f"CPU per event, 5 ms apart, {STREAMS} streams", "us",
        {target.name: statistics.median(per_event(target) for _ in range(bench.options.rounds + 1)) for target in targets}))
    for target in targets:
        target.process.end()
    return rows + [Row("RSS idle", "MiB", idle)]


def begin(bench, name, peer):
    """Starts it; None when it is not installed or does not start."""
    if not peer.installed():
        bench.say(f"left out: {name} (scripts/bench --install-peers installs it)")
        return None
    try:
        return peer.start(bench.folder, bench.upstream)
    except SystemExit as failed:
        bench.say(f"left out: {name} ({failed})")
        return None


def per_event(target):
    """CPU microseconds per event of streams that all run to their end."""
    before = target.process.cpu()
    streams = client.streams(target, body(target.model(drip(EVENTS, 5)), stream=True), STREAMS, spread=0.25, seconds=1.0)
    return (target.process.cpu() - before) * 1e6 / (streams.ended * (EVENTS + FRAME_EVENTS))
