"""Portkey's gateway: one Node process; the provider and its address come with each request, and no key is checked."""
import os
import subprocess

from ... import machine
from ...process import Process, wait_for
from ...target import Target

VERSION, LICENCE = "1.15.2", "MIT"
HOME = machine.ROOT / "target" / "peers" / "portkey"
PROGRAM = HOME / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
MUTABLE = machine.ROOT / "benches" / "load" / "peers" / "portkey" / "mutable.mjs"


def installed():
    return PROGRAM.exists() and machine.tool("node")


def install():
    HOME.mkdir(parents=True, exist_ok=True)
    subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(HOME),
        f"@portkey-ai/gateway@{VERSION}"], check=True)


def start(folder, upstream):
    """Its process and where it listens."""
    port = machine.free_port()
    process = Process([machine.tool("node"), "--import", MUTABLE, PROGRAM, f"--port={port}", "--headless"], machine.PROXY,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder, env={**os.environ, "NODE_ENV": "production"})
    wait_for(port, 60, process)
    headers = (("x-portkey-provider", "openai"), ("x-portkey-custom-host", f"http://127.0.0.1:{upstream}/v1"))
    return Target("portkey", port, "", process, headers=headers)
