"""Runs the gateway under callgrind and gives what a request, and a streamed event, takes."""
import http.client
import shutil
import subprocess
import tempfile
from pathlib import Path

from .. import gateway, machine, upstream
from ..process import Process
from ..upstream import body, drip
from . import callgrind

# What only the thread of a cell runs.
CELL = "llm_gateway::dispatch"
WARMING = 200
# Valgrind counts each round of a repeated string instruction, which the processor does in one; so the C library shall not use them.
TUNABLES = "glibc.cpu.x86_rep_movsb_threshold=1000000000:glibc.cpu.x86_rep_stosb_threshold=1000000000"


def stripped(binary, folder):
    """A copy without line numbers, which valgrind would read for ten seconds; names stay."""
    if not shutil.which("strip"):
        return binary
    subprocess.run(["strip", "--strip-debug", "-o", str(folder / "llm-gateway"), binary], check=True)
    return str(folder / "llm-gateway")


def profiles(binary, folder, port, calls, name):
    """Runs the gateway under callgrind for these requests, `(payload, how often)`; gives the profile of its cell and that of all its
    other threads."""
    out = Path(tempfile.mkdtemp(dir=folder)) / "out"
    wrapper = ["env", f"GLIBC_TUNABLES={TUNABLES}", "valgrind", "--tool=callgrind", "--separate-threads=yes", f"--callgrind-out-file={out}", "--quiet"]
    target = gateway.start(binary, folder, port, name, cpus=set(machine.ALL), wrapper=wrapper)
    connection = http.client.HTTPConnection("127.0.0.1", target.port, timeout=120)
    for payload, count in calls:
        for _ in range(count):
            connection.request("POST", target.path, payload, target.head())
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 200:
                raise RuntimeError(f"{answer.status} {text[:500]!r}")
    connection.close()
    target.process.end(60)
    cell, others = callgrind.Profile(), callgrind.Profile()
    for path in out.parent.glob("out-*"):
        one = callgrind.read(path)
        (cell if any(CELL in name for name in one.own) else others).add(one)
    if not cell.own:
        raise RuntimeError(f"callgrind found no thread that runs {CELL}; has the binary its symbols?")
    return cell, others


def measure(binary, requests, streams, profile="counted"):
    """By name, in a profile of the gateway: the profile of the cell and of the others, and how many requests or events it is of."""
    with tempfile.TemporaryDirectory(prefix="llm-gateway-count-") as name:
        folder = Path(name)
        binary = stripped(binary, folder)
        try:
            _, port = upstream.start_stub(binary)
            echo, model = body("stub/echo"), lambda events: body("stub/" + drip(events, 5), stream=True)
            runs = {
                "request": (requests, [(echo, WARMING), (echo, requests)], [(echo, WARMING), (echo, 2 * requests)]),
                "event": (50 * streams, [(model(50), streams), (model(50), streams)], [(model(50), streams), (model(100), streams)]),
            }
            found = {}
            for kind, (count, less, more) in runs.items():
                fewer, most = (profiles(binary, folder, port, calls, profile) for calls in (less, more))
                found[kind] = (*(b.less(a) for a, b in zip(fewer, most)), count)
            return found
        finally:
            Process.end_all()
