"""What logs and traces cost, c=64: the governed profile, which writes a line for each call and traces every tenth, in turn
with the same without. Both count for Prometheus."""
from ..report.rows import Row
from ..upstream import FRAME_EVENTS, drip
from ..wrk import micros, over, turns

EVENTS = 50


def run(bench):
    rows, targets = [], [bench.profile("quiet"), bench.profile("governed")]
    for name, model, each, stream in (("request", "echo", 1, False),
            ("event, 5 ms apart", drip(EVENTS, 5), EVENTS + FRAME_EVENTS, True)):
        runs = turns(targets, bench.options, model, 64, stream=stream)
        rows.append(Row(f"CPU per {name}", "us", over(runs, lambda of, each=each: micros(of, each)), ratio="quiet"))
    return rows
