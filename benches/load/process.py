"""A process on processors of its own, with its CPU time and memory."""
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

from . import machine


class Process:
    """Ended with the benchmark. CPU time is what the kernel booked for it and its children. `first` runs in it
    before the command."""

    running = []

    def __init__(self, command, cpus, ends_with=signal.SIGTERM, first=lambda: None, **more):
        self.ends_with = ends_with
        command = [str(word) for word in command]

        def begin():
            os.sched_setaffinity(0, cpus)
            first()
        self.child = subprocess.Popen(command, preexec_fn=begin, **more)
        Process.running.append(self)

    def pids(self):
        """Itself and all below."""
        found, below = [], [self.child.pid]
        while below:
            pid = below.pop()
            found.append(pid)
            for children in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
                try:
                    below += [int(child) for child in children.read_text().split()]
                except OSError:
                    continue
        return found

    def cpu(self):
        """User and system seconds, children included."""
        total = 0
        for pid in self.pids():
            try:
                fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            # Fields 14 to 17 of proc(5); the later two are of children that have ended.
            total += sum(int(field) for field in fields[11:15])
        return total / machine.TICKS

    def rss(self):
        """Resident MiB, children included; what they share counts once for each."""
        total = 0
        for pid in self.pids():
            try:
                status = pathlib.Path(f"/proc/{pid}/status").read_text()
            except OSError:
                continue
            total += int(re.search(r"VmRSS:\s+(\d+)|$", status).group(1) or 0)
        return total / 1024

    def end(self, seconds=10):
        """Asks it to end, and ends it when it does not."""
        if self in Process.running:
            Process.running.remove(self)
        self.child.send_signal(self.ends_with)
        try:
            self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()

    @classmethod
    def end_all(cls):
        for process in list(reversed(cls.running)):
            process.end()


def wait_for(port, seconds=10, process=None):
    """Waits until something listens there."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > deadline or (process and process.child.poll() is not None):
                sys.exit(f"nothing listens on port {port}")
            time.sleep(0.005)
