"""The closed-loop load: wrk, which asks again as soon as it was answered. For CPU time and throughput, and for latency where
the number in flight is what is given."""
import os
import re
import statistics
import subprocess
import sys

from . import machine
from .upstream import body

DONE = ('done = function(s, l, r) io.write(string.format("RESULT %d %d %f %f %f %f\\n", s.requests, '
        's.errors.connect + s.errors.read + s.errors.write + s.errors.status + s.errors.timeout, '
        'l:percentile(50), l:percentile(90), l:percentile(99), l:percentile(99.9))) end\n')
# The share of requests that may be refused; it is told.
FAILED_MAX = 0.01


def load(target, folder, payload, connections, seconds, path=None, cpus=machine.LOAD, threads=1, warming=False):
    """Runs wrk once; gives requests, CPU seconds of target and load, and latencies in microseconds."""
    headers = "".join(f'wrk.headers["{name}"] = "{value}"\n' for name, value in target.head().items())
    script = folder / f"load-{target.name.replace(' ', '-')}.lua"
    script.write_text(f'wrk.method = "POST"\n{headers}wrk.body = [==[{payload}]==]\n{DONE}')
    before, load_before = target.process.cpu() if target.process else 0, os.times()
    run = subprocess.run([machine.tool("wrk"), f"-t{threads}", f"-c{connections}", f"-d{seconds}s", "--timeout", "60s",
        "-s", str(script), f"http://127.0.0.1:{target.port}{path or target.path}"], capture_output=True, text=True,
        check=True, preexec_fn=lambda: os.sched_setaffinity(0, cpus))
    cpu = (target.process.cpu() - before) if target.process else 0
    load_after = os.times()
    requests, errors, *latencies = re.search(r"RESULT (.*)", run.stdout).group(1).split()
    if int(errors):
        print(f"{target.name}: {errors} of {requests} requests failed, c={connections}", file=sys.stderr, flush=True)
    if int(errors) > int(requests) * FAILED_MAX or not (int(requests) or warming):
        sys.exit(run.stdout)
    child = lambda times: times.children_user + times.children_system
    return {"requests": int(requests), "cpu": cpu, "load": child(load_after) - child(load_before), "seconds": seconds,
            **dict(zip(("p50", "p90", "p99", "p99.9"), map(float, latencies)))}


def turns(targets, options, model, connections, stream=False, native=None, prompt_bytes=0, seconds=None):
    """Each target in turn, again and again, so that a machine that changes speed changes all; gives the runs by name.
    `native`: path and body of a request in the upstream's own format, for who does not translate."""
    runs = {target.name: [] for target in targets}
    seconds = seconds or options.seconds
    for number in range(-1, options.rounds):
        for target in targets:
            path, payload = None, body(target.model(model), stream, prompt_bytes)
            if native and not target.prefix:
                path, payload = native
            # The first turn warms up.
            if number < 0:
                load(target, options.folder, payload, connections, 1, path, warming=True)
            else:
                runs[target.name].append(load(target, options.folder, payload, connections, seconds, path))
    return runs


def micros(runs, per_request=1):
    """CPU microseconds for each request, or for each of its events: the median of the runs."""
    return statistics.median(run["cpu"] * 1e6 / (run["requests"] * per_request) for run in runs)


def rate(runs):
    """Requests per second, the median of the runs."""
    return statistics.median(run["requests"] / run["seconds"] for run in runs)


def over(runs, what):
    """What `what` makes of the runs of each target, by name."""
    return {name: what(of_one) for name, of_one in runs.items() if of_one}
