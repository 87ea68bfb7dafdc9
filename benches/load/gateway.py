"""The gateway as a target, in profiles: how much of it is on.

`bare` is as little as the configuration allows; `quiet` has limits and a budget but neither log nor traces; `governed` is
how it runs in production on one machine, `shared` the same with PostgreSQL and Redis in place of SQLite. `counted` is governed
without traces, because chance decides which calls are traced.
"""
import http.client
import json
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

from . import collector, machine
from .formats import FORMATS
from .process import Process, wait_for
from .target import Target
from .upstream import FAILING, catalogue

# It does not wait for balancers then, as it does after SIGTERM.
ENDS_WITH = signal.SIGINT
ADMIN = "admin-key-of-the-benchmark"
# High enough never to refuse; money, tokens and places are reserved and settled all the same.
LIMITS = {"rpm": 60_000_000, "tpm": 4_000_000_000, "concurrency": 100_000,
          "budget": {"limit_usd": "9000000", "period": "month"}}


@dataclass(frozen=True)
class Profile:
    """A level of the log, whether it is read and calls are traced, and the limits of its key."""

    level: str
    observed: bool
    limits: dict


PROFILES = {
    "bare": Profile("error", False, {}),
    "quiet": Profile("warn", False, LIMITS),
    "governed": Profile("info", True, LIMITS),
    "shared": Profile("info", True, LIMITS),
    "counted": Profile("info", False, LIMITS),
}


def write_config(folder, upstream, level, workers, more):
    """Writes the configuration; gives its file and the two ports."""
    port, ops = machine.free_port(), machine.free_port()
    (folder / "models.json").write_text(catalogue())
    config = folder / "gateway.yaml"
    config.write_text(f"""
server: {{ listen: "127.0.0.1:{port}", workers: {workers} }}
ops: {{ listen: "127.0.0.1:{ops}" }}
admin_key: {ADMIN}
data_dir: {folder}/data
log: {{ level: {level} }}
{more}
catalog: {{ file: {folder}/models.json }}
providers:
  stub: {{ base_url: "http://127.0.0.1:{upstream}/v1", max_in_flight: 100000 }}
  small: {{ base_url: "http://127.0.0.1:{upstream}/v1", max_in_flight: 4, adaptive_limit: false, queue: {{ length: 100, timeout: 5s }} }}
  broken: {{ base_url: "http://127.0.0.1:{upstream}/v1", breaker: {{ consecutive_failures: 1000000, failure_rate: 0 }} }}
""" + "".join(f"""  {name}: {{ wire: {name}, base_url: "http://127.0.0.1:{upstream}{path}", auth: none, catalog: stub, max_in_flight: 100000 }}
""" for name, (path, _) in FORMATS.items()) + f"""
models: {{ over: {{ targets: [ {{ model: "broken/{FAILING}", weight: 1000 }}, {{ model: stub/echo }} ], routing: price }} }}
""")
    return config, port, ops


def start(binary, folder, upstream, name, workers=1, cpus=machine.PROXY, stores="", wrapper=()):
    """Starts it in a profile and makes a key; gives the target. `stores`: lines of the configuration; `wrapper`: a command
    that runs it."""
    profile = PROFILES[name]
    folder = folder / f"{name}-{time.monotonic_ns()}"
    folder.mkdir()
    more, log = stores, subprocess.DEVNULL
    if profile.observed:
        endpoint = f"http://127.0.0.1:{collector.start()}"
        more += f"\ntelemetry: {{ otlp: {{ endpoint: '{endpoint}' }}, traces: {{ sample_ratio: 0.1 }} }}"
        log = Process(["cat"], machine.LOAD, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL).child.stdin
    config, port, ops = write_config(folder, upstream, profile.level, workers, more)
    process = Process([*wrapper, binary, "serve", "--config", config], cpus, ENDS_WITH, stderr=log)
    wait_for(port, 120 if wrapper else 10, process)
    target = Target(name, port, "stub/", process, ops=ops)
    target.key = new_key(target, profile.limits)
    target.config = config
    return target


def new_key(target, limits=LIMITS):
    """Makes a key with these limits."""
    connection = http.client.HTTPConnection("127.0.0.1", target.ops, timeout=60)
    connection.request("POST", "/admin/v1/keys", json.dumps({"name": "bench", **limits}),
        {"Authorization": f"Bearer {ADMIN}", "Content-Type": "application/json"})
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    if answer.status // 100 != 2:
        sys.exit(f"no key: {answer.status} {text.decode()}")
    return json.loads(text)["key"]
