"""Connections opened to the upstream for 1,000 requests, by what the kernel remembers of them (closed ones for a minute)."""
import pathlib

from ..report.rows import Row
from ..upstream import body, drip
from ..wrk import load


def connections(port):
    """The ends of all connections to a port of this machine, those in TIME_WAIT included."""
    found = set()
    for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]:
        ends = line.split()[1:3]
        own, other = (int(end.rsplit(":", 1)[1], 16) for end in ends)
        if port in (own, other) and line.split()[3] != "0A":
            found.add(frozenset(ends))
    return found


def run(bench):
    rows = []
    for name, model, stream, in (("c=64", "echo", False), ("64 streams", drip(10, 5), True)):
        opened = {}
        for target in bench.all():
            before = connections(bench.upstream)
            one = load(target, bench.folder, body(target.model(model), stream), 64, min(bench.options.seconds, 20))
            opened[target.name] = len(connections(bench.upstream) - before) * 1000 / one["requests"]
        rows.append(Row(f"upstream connections opened per 1,000 requests, {name}", "", opened, digits=2))
    return rows
