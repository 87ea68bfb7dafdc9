"""The machine: which processors have what, the versions of the tools, and limits that are raised for the run."""
import ctypes
import os
import pathlib
import re
import resource
import shutil
import socket
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
# What the run has, in order. The proxy under test has the first, upstream and load the second.
ALL = sorted(os.sched_getaffinity(0))
PROXY, LOAD = {ALL[0]}, {ALL[-1]}
TICKS = os.sysconf("SC_CLK_TCK")
DESCRIPTORS = 65_536


def pin_to_load():
    """Clients run in this process: it belongs on the load's processor, and wakes when it asked to, not 50 us later."""
    os.sched_setaffinity(0, LOAD)
    pr_set_timerslack = 29
    ctypes.CDLL(None).prctl(pr_set_timerslack, 1000, 0, 0, 0)


def raise_descriptors():
    """Gives how many sockets a process may have: 8,000 streams are 16,000 in a proxy. Root may raise the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in ((DESCRIPTORS, max(hard, DESCRIPTORS)), (hard, hard)):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, wanted)
            return wanted[0]
        except (ValueError, OSError):
            continue
    return soft


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def tool(name):
    """The path of an installed program, or None; Debian keeps nginx where only root looks and PostgreSQL by version."""
    places = sorted(pathlib.Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)
    found = shutil.which(name) or next((str(place) for place in places), None)
    return found or (f"/usr/sbin/{name}" if pathlib.Path(f"/usr/sbin/{name}").exists() else None)


def need(*names):
    for name in names:
        if not tool(name):
            sys.exit(f"{name} is needed: apt-get install nginx-light wrk valgrind")


def first_line(*command):
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except OSError:
        return "not there"
    return (run.stdout or run.stderr).strip().split("\n")[0]


def versions(binary):
    """What was measured, with what; by name."""
    found = {"llm-gateway": first_line(binary, "version").removeprefix("llm-gateway "),
             "commit": first_line("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"),
             "nginx": first_line(tool("nginx"), "-v").rsplit("/", 1)[-1],
             "wrk": re.sub(r" \[.*", "", first_line(tool("wrk"), "-v")).removeprefix("wrk "),
             "python": sys.version.split()[0]}
    for name, command in (("postgresql", "postgres"), ("redis", "redis-server")):
        if tool(command):
            found[name] = re.search(r"\d+\.[\d.]+", first_line(tool(command), "--version")).group(0)
    return found


def description():
    """Processor, how many of them, memory and kernel."""
    cpu = re.search(r"model name\s*:\s*(.*)", pathlib.Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s+(\d+)", pathlib.Path("/proc/meminfo").read_text())
    name = cpu.group(1) if cpu else os.uname().machine
    return f"{name}, {len(ALL)} processors, {int(memory.group(1)) / (1 << 20):.0f} GiB, Linux {os.uname().release}"


def load_average():
    return os.getloadavg()[0]
