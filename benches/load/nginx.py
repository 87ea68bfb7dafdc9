"""Nginx as a plain reverse proxy with pooled upstream connections: the yardstick."""
import subprocess
import time

from . import machine
from .process import Process, wait_for
from .target import Target


def start(folder, upstream):
    """Gives it as a target."""
    port, folder = machine.free_port(), folder / f"nginx-{time.monotonic_ns()}"
    folder.mkdir()
    conf = folder / "nginx.conf"
    conf.write_text(f"""
        worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.err;
        events {{ worker_connections 40000; }}
        http {{
          access_log off; keepalive_requests 100000000; tcp_nodelay on;
          client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
          uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
          upstream up {{ server 127.0.0.1:{upstream}; keepalive 4096; keepalive_requests 100000000; }}
          server {{
            listen 127.0.0.1:{port} backlog=4096; client_body_buffer_size 2m; client_max_body_size 64m;
            location / {{ proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection "";
                          proxy_buffering off; proxy_read_timeout 600s; }}
          }}
        }}""")
    process = Process([machine.tool("nginx"), "-c", conf, "-p", folder], machine.PROXY, stderr=subprocess.DEVNULL)
    wait_for(port, process=process)
    time.sleep(0.2)
    return Target("nginx", port, "", process)
