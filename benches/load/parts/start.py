"""From the start of the process to the first answer, in a data folder that exists, as after a restart."""
import http.client
import statistics
import subprocess
import time

from .. import machine
from ..gateway import ENDS_WITH
from ..process import Process
from ..report.rows import Row
from ..upstream import body

TIMES = 5


def run(bench):
    return [Row("start to first answer", "ms", {target.name: restarted(bench, target.name) for target in bench.profiles()}, digits=0)]


def restarted(bench, name):
    """Milliseconds, the median of some starts."""
    first = bench.start(name)
    first.process.end()
    times = []
    for _ in range(TIMES):
        began = time.monotonic()
        process = Process([bench.binary, "serve", "--config", first.config], machine.PROXY, ENDS_WITH, stderr=subprocess.DEVNULL)
        while not answers(first):
            if time.monotonic() > began + 30:
                raise TimeoutError(f"{name} does not answer")
            time.sleep(0.001)
        times.append((time.monotonic() - began) * 1000)
        process.end()
    return statistics.median(times)


def answers(target):
    connection = http.client.HTTPConnection("127.0.0.1", target.port, timeout=30)
    try:
        connection.request("POST", target.path, body("stub/echo"), target.head())
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
