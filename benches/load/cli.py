"""The command line of scripts/bench."""
import argparse
import os
import pathlib
import shlex
import signal
import subprocess
import sys
import tempfile
import time

from . import machine, peers
from .bench import PROFILES, Bench
from .parts import PARTS
from .process import Process
from .report import document
from .report.table import table

DESCRIPTION = """Measures the gateway against nginx as a plain reverse proxy, in one run.

The first processor has the proxy under test, the last one the upstream (our stub) and the load. Nginx and the gateway, in
profiles, take turns, so that a machine that changes speed changes all. CPU time is what the kernel booked for the proxy.

Needs nginx and wrk; PostgreSQL, Redis and other gateways take part where they are installed."""


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/bench", description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--seconds", type=int, default=5, help="length of one run [%(default)s]")
    add("--rounds", type=int, default=5, help="runs of each; the median counts [%(default)s]")
    add("--binary", help="measure this binary instead of building one")
    add("--only", default=",".join(PARTS), help="parts, separated by commas [%(default)s]")
    add("--profiles", default=",".join(PROFILES), help="of the gateway, separated by commas [%(default)s]")
    add("--streams", type=int, default=8000, help="streams held at most [%(default)s]")
    add("--write", action="store_true", help="put what was measured into docs/benchmarks; parts that were not keep their figures")
    add("--install-peers", action="store_true", help="install the other gateways below target/peers, and end")
    options = parser.parse_args()
    options.parts, options.profiles = options.only.split(","), options.profiles.split(",")
    for name, known in ((options.parts, PARTS), (options.profiles, PROFILES)):
        unknown = [word for word in name if word not in known]
        if unknown:
            parser.error(f"{', '.join(unknown)}: not one of {', '.join(known)}")
    return options


def built():
    """Builds the binary and gives its path."""
    subprocess.run(["cargo", "build", "--release", "--locked"], cwd=machine.ROOT, check=True)
    target_dir = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", machine.ROOT / "target"))
    return str(target_dir / "release" / "llm-gateway")


def command(options):
    """What to type to measure the same parts the same way, wherever the binary is."""
    words = ["scripts/bench", "--seconds", options.seconds, "--rounds", options.rounds]
    for name, value, usual in (("--only", options.only, ",".join(PARTS)), ("--profiles", ",".join(options.profiles), ",".join(PROFILES)),
            ("--streams", options.streams, 8000)):
        words += [name, value] if value != usual else []
    return shlex.join(map(str, words + ["--write"] * options.write))


def main():
    options = arguments()
    if options.install_peers:
        return peers.install()
    machine.need("nginx", "wrk")
    binary = str(pathlib.Path(options.binary).resolve()) if options.binary else built()
    # So that what was started is ended, and what was made is removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options.descriptors = machine.raise_descriptors()
    machine.pin_to_load()
    found = {}
    with tempfile.TemporaryDirectory(prefix="llm-gateway-bench-") as folder:
        os.chmod(folder, 0o755)
        bench = None
        try:
            bench = Bench(binary, folder, options)
            for name in options.parts:
                began, load = time.monotonic(), machine.load_average()
                rows = PARTS[name].run(bench)
                print(f"\n## {name}\n\n{table(rows)}\n", flush=True)
                found[name] = document.part(rows, options, command(options), load)
                bench.say(f"{name}: {time.monotonic() - began:.0f} s, load average {load:.1f} when it began")
        finally:
            if bench:
                bench.close()
            Process.end_all()
    if options.write:
        document.write(found, binary)
    return None
