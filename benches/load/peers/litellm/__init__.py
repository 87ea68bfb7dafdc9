"""LiteLLM's proxy: one worker process, a master key, no database."""
import os
import subprocess
import sys

from ... import machine
from ...process import Process, wait_for
from ...target import Target
from ...upstream import drip

VERSION, LICENCE = "1.108.7", "MIT; its enterprise folder has terms of its own and is not used"
HOME = machine.ROOT / "target" / "peers" / "litellm"
PROGRAM = HOME / "bin" / "litellm"
CONFIG = machine.ROOT / "benches" / "load" / "peers" / "litellm" / "config.yaml"


def installed():
    return PROGRAM.exists()


def install():
    subprocess.run([sys.executable, "-m", "venv", str(HOME)], check=True)
    subprocess.run([str(HOME / "bin" / "pip"), "install", "-q", f"litellm[proxy]=={VERSION}"], check=True)


def start(folder, upstream):
    """Its process and where it listens. A model's name may have no comma there."""
    port, config = machine.free_port(), folder / "litellm.yaml"
    config.write_text(CONFIG.read_text().replace("UPSTREAM", str(upstream)))
    process = Process([PROGRAM, "--config", config, "--host", "127.0.0.1", "--port", port, "--num_workers", 1], machine.PROXY,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder,
        env={**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "NO_PROXY": "127.0.0.1"})
    wait_for(port, 120, process)
    return Target("litellm", port, "", process, "sk-bench", names={drip(50, 5): "drip"})
