"""One worker and two, c=64. On two processors the load shares them with the workers, so that throughput cannot double there;
what two workers could do without it is twice what one can, over the growth of CPU time per request. With four processors
or more the load has the others, and throughput is what counts. CPU time of the load, wrk and upstream, is given apart."""
import os

from .. import machine, upstream
from ..report.rows import Goal, Row
from ..upstream import body
from ..wrk import load, micros, rate


def run(bench):
    apart = len(machine.ALL) >= 4
    proxies, loads = set(machine.ALL[:2]), set(machine.ALL[2:] if apart else machine.ALL)
    stub, port = upstream.start_stub(bench.binary, loads, workers=2)
    runs, targets, cost = {1: [], 2: []}, {}, {1: [], 2: []}
    try:
        for workers in (1, 2):
            targets[workers] = bench.start("governed", port, workers=workers, cpus=proxies)
        for number in range(-1, bench.options.rounds):
            for workers, target in targets.items():
                before = stub.cpu()
                seconds = bench.options.seconds if number >= 0 else 1
                one = load(target, bench.folder, body("stub/echo"), 64, seconds, cpus=loads, threads=2)
                if number >= 0:
                    runs[workers].append(one)
                    cost[workers].append((one["load"] + stub.cpu() - before) * 1e6 / one["requests"])
    finally:
        for target in targets.values():
            target.process.end()
        stub.end()
    cpu, rates = ({workers: what(of) for workers, of in runs.items()} for what in (micros, rate))
    rows = [Row(f"CPU per request, {workers} of 2 workers", "us", {"governed": cpu[workers]}) for workers in (1, 2)]
    rows += [Row(f"requests per second, {workers} of 2 workers (load {sorted(cost[workers])[len(cost[workers]) // 2]:.0f} us each)",
        "", {"governed": rates[workers]}, digits=0) for workers in (1, 2)]
    gain = rates[2] / rates[1] if apart else 2 * cpu[1] / cpu[2]
    how = "by throughput" if apart else "by CPU time"
    return rows + [Row(f"2 workers over 1, {how}, {os.cpu_count()} processors", "x", {"governed": gain}, Goal(1.9, least=True), digits=2)]
