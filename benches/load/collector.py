"""A collector that takes every trace and metric that it is sent. A process of its own: `python -m load.collector`."""
import http.server
import os
import subprocess
import sys

from . import machine
from .process import Process


class Handler(http.server.BaseHTTPRequestHandler):
    """Reads, and says that all is well."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_):
        pass


def start():
    """Starts one on the load's processor; gives its port."""
    process = Process([sys.executable, "-m", "load.collector"], machine.LOAD, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(machine.ROOT / "benches"), "PYTHONDONTWRITEBYTECODE": "1"})
    return int(process.child.stdout.readline())


if __name__ == "__main__":
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()
