"""How much longer a call takes whose first target fails at once, the failed attempt included. Eight a second: the retry
budget allows more, and a first target that always fails is no load to measure by."""
import http.client
import sys
import time

from ..quantiles import at
from ..report.rows import Row
from ..upstream import body


def run(bench):
    gateway = bench.profile("governed")
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)

    def ask(model):
        began = time.monotonic()
        connection.request("POST", gateway.path, body(model), gateway.head())
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            sys.exit(f"{model}: {answer.status}")
        return (time.monotonic() - began) * 1e6, answer.headers["x-gateway-attempts"]

    runs = {"stub/echo": [], "over": []}
    for _ in range(bench.options.rounds * bench.options.seconds * 8):
        # The first call after a pause finds everything cold.
        ask("stub/echo")
        for model, attempts in (("stub/echo", "1"), ("over", "2")):
            took, made = ask(model)
            # Once in a thousand calls chance has the good target first.
            if made == attempts:
                runs[model].append(took)
        time.sleep(0.12)
    longer = lambda share: at(runs["over"], share) - at(runs["stub/echo"], share)
    return [Row(f"failover: longer by, {name}", "us", {"governed": longer(share)}, digits=0)
            for name, share in (("p50", 0.5), ("p90", 0.9))]
