"""A gateway with everything that moves: the stub as several providers, Redis, Prometheus, and callers of every kind.

Everything runs in a folder of its own, listens on the loopback and ends with `World`.
"""

import http.client
import http.server
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import panels
from google.protobuf.json_format import ParseDict, ParseError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

ADMIN = "admin-key-of-the-operations-tests"
ROOT = panels.ROOT
BINARY = ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "debug" / "llm-gateway"

# Prices at which a few answers are dollars, so that what is spent can be seen.
PRICE = {"rates": {"input": "2000", "output": "8000"}}
MODELS = ["echo", "slow:ms=150", "slow:ms=900", "drip:events=12,ms=15", "error:status=500", "error:status=401",
          "error:status=429,retry_after=1", "truncate:after=3", "reasoning"]
PROVIDERS = ["north", "south", "narrow", "dead", "failing", "refusing", "limited"]

CONFIG = """
admin_key: {admin}
server: {{ listen: "127.0.0.1:0", workers: 2, drain_delay: 1ms }}
ops: {{ listen: "127.0.0.1:0" }}
log: {{ level: info }}
telemetry:
  otlp: {{ endpoint: "http://127.0.0.1:{collector}" }}
  traces: {{ sample_ratio: 0.5 }}
  metrics: {{ interval: 1s }}
redis: {{ url: "redis://127.0.0.1:{redis}/0" }}
catalog: {{ file: {folder}/models.json }}
routing: {{ exploration: 0 }}
budgets: {{ webhook: "http://127.0.0.1:{nobody}/hook" }}
providers:
  north: {{ base_url: "{stub}" }}
  south: {{ base_url: "{stub}" }}
  narrow: {{ base_url: "{stub}", max_in_flight: 1, adaptive_limit: false, queue: {{ length: 2, timeout: 300ms }} }}
  dead: {{ base_url: "http://127.0.0.1:{nobody}/v1" }}
  failing: {{ base_url: "{stub}", breaker: {{ consecutive_failures: 1000000, failure_rate: 0 }} }}
  refusing: {{ base_url: "{stub}", api_keys: [{{ name: old, key: "one-of-the-tests" }}] }}
  limited: {{ base_url: "{stub}", api_keys: [{{ name: first, key: "two-of-the-tests" }}, {{ name: second, key: "three-of-the-tests" }}] }}
models:
  hedged: {{ hedge_after: 50ms, targets: [{{ model: "north/slow:ms=150", weight: 1000 }}, {{ model: "south/echo" }}] }}
  outrun: {{ hedge_after: 50ms, targets: [{{ model: "north/slow:ms=150", weight: 1000 }}, {{ model: "south/slow:ms=900" }}] }}
projects:
  web: {{ request_log: full, budget: {{ limit_usd: "400", period: month }} }}
"""
KEYS = [
    {"name": "search", "project": "web", "rpm": 100000, "markup_percent": "10", "budget": {"limit_usd": "250", "period": "day"}},
    {"name": "batch", "tpm": 10000000, "concurrency": 500, "budget": {"limit_usd": "1000", "period": "week"}},
    {"name": "hasty", "rpm": 5},
    {"name": "poor", "budget": {"limit_usd": "2", "period": "total", "alerts": [1, 50]}},
]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def eventually(what, check, seconds=30):
    """Waits until a check is true or gives something."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if found := check():
                return found
        except OSError:
            pass
        time.sleep(0.05)
    raise TimeoutError(f"never: {what}")


class Collector(http.server.BaseHTTPRequestHandler):
    """Takes three requests and wants nothing of the fourth; reads them with OpenTelemetry's own definitions."""

    protocol_version = "HTTP/1.1"
    requests = itertools.count(1)
    messages = {"/v1/traces": ExportTraceServiceRequest, "/v1/metrics": ExportMetricsServiceRequest}
    names = set()
    unread = []

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            self.note(ParseDict(json.loads(body), self.messages[self.path]()))
        except (KeyError, ValueError, ParseError) as error:
            self.unread.append(f"{self.path}: {error}")
        self.send_response(400 if next(self.requests) % 4 == 0 else 200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def note(self, message):
        for resource in getattr(message, "resource_spans", []):
            self.names.update(span.name for scope in resource.scope_spans for span in scope.spans)
        for resource in getattr(message, "resource_metrics", []):
            self.names.update(metric.name for scope in resource.scope_metrics for metric in scope.metrics)

    def log_message(self, *_):
        pass


class World:
    """The processes, and how they are asked."""

    def __enter__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="llm-gateway-operations-"))
        self.processes = []
        self.stopping = threading.Event()
        self.threads = []
        self.collector = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
        threading.Thread(target=self.collector.serve_forever, daemon=True).start()
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join(timeout=15)
        for process in reversed(self.processes):
            process.send_signal(signal.SIGINT)
        for process in reversed(self.processes):
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.collector.shutdown()
        self.collector.server_close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, name, *command):
        log = open(self.folder / f"{name}.log", "wb")
        # What the tester's own shell sets for a gateway is not for this one.
        variables = {key: value for key, value in os.environ.items() if not key.startswith("LLM_GATEWAY")}
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=self.folder, env=variables)
        log.close()
        self.processes.append(process)
        return lambda: (self.folder / f"{name}.log").read_text(errors="replace")

    def start(self):
        stub = self.run("stub", BINARY, "stub", "--listen", "127.0.0.1:0")
        said = eventually("the stub says where it is", lambda: stub().endswith("/v1\n") and stub())
        redis, nobody = free_port(), free_port()
        self.run("redis", "redis-server", "--port", str(redis), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", self.folder)
        eventually("Redis listens", lambda: socket.create_connection(("127.0.0.1", redis)).close() or True)
        offers = lambda name: [{"provider": it, "upstream": name, "context_window": 131072, "max_output": 32768, "price": PRICE,
                                "capabilities": ["reasoning"]} for it in PROVIDERS]
        models = [{"id": name, "offers": offers(name)} for name in MODELS]
        (self.folder / "models.json").write_text(json.dumps({"version": 1, "source": "made up for the tests", "models": models}))
        config = CONFIG.format(admin=ADMIN, redis=redis, nobody=nobody, stub=said.split()[-1], folder=self.folder,
                               collector=self.collector.server_port)
        (self.folder / "gateway.yaml").write_text(config)
        log = self.run("gateway", BINARY, "serve", "--config", "gateway.yaml")
        ready = eventually("the gateway is ready", lambda: [line for line in log().splitlines() if '"ready"' in line and '"ops"' in line])
        fields = json.loads(ready[0])
        fields = fields.get("fields", fields)
        self.api, self.ops = fields["listen"], fields["ops"]
        self.keys = {spec["name"]: self.admin("POST", "/keys", spec)["key"] for spec in KEYS}
        self.prometheus = f"127.0.0.1:{free_port()}"
        # The rules as they are, but evaluated as often as is scraped.
        (self.folder / "rules.yaml").write_text(panels.RULES.read_text().replace("interval: 30s", "interval: 1s"))
        scrape = {"global": {"scrape_interval": "1s", "evaluation_interval": "1s"}, "rule_files": ["rules.yaml"],
                  "scrape_configs": [{"job_name": "llm-gateway", "static_configs": [{"targets": [self.ops]}]}]}
        (self.folder / "prometheus.yaml").write_text(json.dumps(scrape))
        self.run("prometheus", "prometheus", "--config.file", self.folder / "prometheus.yaml", "--storage.tsdb.path", self.folder / "tsdb",
                 "--web.listen-address", self.prometheus)
        eventually("Prometheus scrapes", lambda: self.instant("llm_gateway_build_info"))

    def admin(self, method, path, body=None):
        connection = http.client.HTTPConnection(self.ops, timeout=10)
        headers = {"Authorization": f"Bearer {ADMIN}", "Content-Type": "application/json"}
        connection.request(method, f"/admin/v1{path}", json.dumps(body) if body is not None else None, headers)
        answer = connection.getresponse()
        text = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {text.decode()}")
        return json.loads(text or b"null")

    def query(self, path, **parameters):
        address = f"http://{self.prometheus}/api/v1/{path}?{urllib.parse.urlencode(parameters, doseq=True)}"
        try:
            with urllib.request.urlopen(address, timeout=20) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            if error.code == 503:  # it starts yet
                raise ConnectionError("Prometheus is not ready") from error
            raise RuntimeError(f"{parameters}: {error.read().decode()}") from error

    def instant(self, expression):
        return self.query("query", query=expression)["result"]

    def over(self, expression, seconds, step=1):
        now = time.time()
        return self.query("query_range", query=expression, start=now - seconds, end=now, step=step)["result"]

    def call(self, key, body, leave=False, **headers):
        """One chat call; gives the status, or None when the client leaves midway."""
        connection = http.client.HTTPConnection(self.api, timeout=20)
        # With a bound of the answer little is reserved of a budget.
        body = {"messages": [{"role": "user", "content": "Is everything all right?"}], "max_tokens": 64, **body}
        connection.request("POST", "/v1/chat/completions", json.dumps(body),
                           {"Authorization": f"Bearer {self.keys.get(key, key)}", "Content-Type": "application/json", **headers})
        answer = connection.getresponse()
        if leave:
            answer.read(1)
            answer.close()
            connection.close()
            return None
        answer.read()
        connection.close()
        return answer.status

    def caller(self, pause, *calls):
        """A thread that makes these calls again and again until the end."""
        def work():
            while not self.stopping.is_set():
                for call in calls:
                    try:
                        call()
                    except (OSError, http.client.HTTPException):
                        pass
                    self.stopping.wait(pause)
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        self.threads.append(thread)

    def redis_hangs(self):
        """For longer than anybody waits for it."""
        redis = next(process for process in self.processes if process.args[0] == "redis-server")
        redis.send_signal(signal.SIGSTOP)
        self.stopping.wait(0.3)
        redis.send_signal(signal.SIGCONT)

    def load(self):
        """Callers of every kind, until the end."""
        def ask(key, model, leave=False, headers=None, **more):
            return lambda: self.call(key, {"model": model, **more}, leave=leave, **(headers or {}))

        drip, stream = "drip:events=12,ms=15", {"stream": True, "stream_options": {"include_usage": True}}
        self.caller(0.05, ask("search", "north/echo"), ask("search", f"north/{drip}", **stream), ask("batch", f"south/{drip}", **stream))
        self.caller(0.1, ask("batch", "south/reasoning"), ask("batch", f"north/{drip}", leave=True, **stream), ask("batch", "north/truncate:after=3", **stream))
        # Fails over for want of a connection, and then because it is ejected.
        self.caller(0.1, ask("search", "dead/echo", fallbacks=["south/echo"]), ask("batch", "dead/echo"))
        # Fails more often than the retry budget lets it be tried again.
        for _ in range(4):
            self.caller(0.01, ask("batch", "failing/error:status=500", fallbacks=["south/echo"]))
        # One at a time, two in the queue, and five who want to.
        for _ in range(5):
            self.caller(0.02, ask("batch", "narrow/slow:ms=150"), ask("batch", "narrow/slow:ms=900"))
        self.caller(0.05, ask("search", "hedged", **stream), ask("search", "outrun", **stream))
        self.caller(0.1, ask("batch", "limited/error:status=429,retry_after=1"), ask("batch", "refusing/error:status=401"))
        # A model without a price, limits, budgets, keys and requests that are wrong.
        self.caller(0.1, ask("batch", "north/length"), ask("hasty", "north/echo"), ask("poor", "north/echo"), ask("nobody", "north/echo"), ask("search", "north/echo", n="three"))
        self.caller(0.2, ask("search", "north/echo", headers={"Idempotency-Key": "the-same"}), ask("search", "no-such-model"))
        self.caller(2, lambda: self.admin("POST", "/config/reload"))
        self.caller(8, self.redis_hangs)
