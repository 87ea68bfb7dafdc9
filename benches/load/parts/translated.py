"""CPU time per event of streams in another format, 5 ms apart, 64 streams: nginx passes them on, the gateway makes OpenAI's
chunks of them."""
import dataclasses
import json

from ..formats import FORMATS
from ..report.rows import Row
from ..upstream import FRAME_EVENTS, drip
from ..wrk import micros, over, turns

EVENTS = 50


def run(bench):
    rows, model = [], drip(EVENTS, 5, 12)
    for name, (_, request) in FORMATS.items():
        path, native = request(model)
        ours = dataclasses.replace(bench.profile("governed"), prefix=f"{name}/")
        runs = turns([bench.nginx(), ours], bench.options, model, 64, stream=True, native=(path, json.dumps(native)))
        rows.append(Row(f"CPU per event, {name}", "us", over(runs, lambda of: micros(of, EVENTS + FRAME_EVENTS)),
            plot=["cpu", f"event, {name}"]))
    return rows
