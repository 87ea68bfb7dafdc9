"""Connections of this machine, as the kernel lists them. One address has some 28,000 ports, and a closed connection keeps its
port for a minute."""
import pathlib
import time

LISTENING = "0A"
FEW = 4_000
MINUTE = 70


def connections(port):
    """The ends of all connections to a port of this machine, closed ones of the last minute included."""
    found = set()
    for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]:
        ends, state = line.split()[1:3], line.split()[3]
        if state != LISTENING and port in (int(end.rsplit(":", 1)[1], 16) for end in ends):
            found.add(frozenset(ends))
    return found


def settle(port):
    """Waits until few ports are taken by connections to this one, so that those who need many find them; a minute suffices."""
    deadline = time.monotonic() + MINUTE
    while len(connections(port)) > FEW and time.monotonic() < deadline:
        time.sleep(1)
