"""Connections opened to the upstream for 1,000 requests, by what the kernel remembers of them (closed ones for a minute)."""
from ..ports import connections
from ..report.rows import Row
from ..upstream import body, drip
from ..wrk import load


def run(bench):
    rows = []
    for name, model, stream in (("c=64", "echo", False), ("64 streams", drip(10, 5), True)):
        opened = {}
        for target in bench.all():
            before = connections(bench.upstream)
            one = load(target, bench.folder, body(target.model(model), stream), 64, min(bench.options.seconds, 20))
            opened[target.name] = len(connections(bench.upstream) - before) * 1000 / one["requests"]
        rows.append(Row(f"upstream connections opened per 1,000 requests, {name}", "", opened, digits=2))
    return rows
