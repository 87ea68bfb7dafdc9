"""A PostgreSQL and a Redis of the run's own, on the load's processor: their work is not booked on the proxy."""
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile

from . import machine
from .process import Process, wait_for

# Whom PostgreSQL runs as where this is root, which it refuses to be. Debian's `nobody`.
NOBODY = 65_534


def missing():
    """What is not installed."""
    return [name for name in ("initdb", "postgres", "redis-server") if not machine.tool(name)]


def become_nobody():
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)


class Postgres:
    """A cluster in a folder below /tmp, which is removed with it. It synchronises as in production."""

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="llm-gateway-bench-"))
        if os.getuid() == 0:
            os.chown(self.folder, NOBODY, NOBODY)
        made = subprocess.run([machine.tool("initdb"), "-A", "trust", "-U", "gateway", "--encoding=UTF8", "--locale=C.UTF-8",
            "-D", str(self.folder / "data")], capture_output=True, text=True, cwd="/", preexec_fn=become_nobody, check=False)
        if made.returncode:
            sys.exit(f"initdb: {made.stderr}")
        self.port = machine.free_port()
        # Its second kind of end, which waits for no client.
        self.process = Process([machine.tool("postgres"), "-D", self.folder / "data", "-p", self.port, "-c",
            "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={self.folder}"], machine.LOAD, signal.SIGINT,
            become_nobody, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(self.port, 30, self.process)

    def url(self):
        return f"postgres://gateway@127.0.0.1:{self.port}/postgres"

    def remove(self):
        """Stops it at once and removes the folder."""
        self.process.end()
        shutil.rmtree(self.folder, ignore_errors=True)


def redis(folder):
    """Starts a Redis that keeps nothing on disk; gives its address."""
    port = machine.free_port()
    process = Process([machine.tool("redis-server"), "--port", port, "--bind", "127.0.0.1", "--dir", folder, "--save", "",
        "--appendonly", "no"], machine.LOAD, stdout=subprocess.DEVNULL)
    wait_for(port, process=process)
    return f"redis://127.0.0.1:{port}"
