"""What stands behind and beside the proxies: the stub provider, and the models that the load asks for."""
import json
import subprocess

from . import machine
from .process import Process, wait_for

QUESTION = [{"role": "user", "content": "Tell me in a few words what a gateway is for, please. " * 4}]
# What the stub refuses at once.
FAILING = "error:status=500"
# Role, finish, usage and [DONE] come on top of a stream's content.
FRAME_EVENTS = 4


def start_stub(binary, cpus=machine.LOAD, workers=1):
    """The gateway's own stub provider; gives process and port."""
    port = machine.free_port()
    stub = Process([binary, "stub", "--listen", f"127.0.0.1:{port}", "--workers", workers], cpus, stdout=subprocess.DEVNULL)
    wait_for(port)
    return stub, port


def drip(events, ms, size=None):
    """A model that streams so many events, so many milliseconds apart."""
    return f"drip:events={events},ms={ms}" + (f",bytes={size}" if size else "")


MODELS = ["echo", "big:bytes=10", "slow:ms=60", "slow:ms=1000", drip(50, 5), drip(100, 5), drip(50, 5, 12), drip(50, 0), drip(10, 5),
          drip(50, 20), drip(10, 1000)]


def catalogue():
    """The load's models with prices, so that every answer is priced."""
    price = {"rates": {"input": "0.5", "output": "1.5"}}
    offer = lambda name: {"provider": "stub", "upstream": name, "capabilities": [], "price": price}
    return json.dumps({"version": 1, "models": [{"id": name, "offers": [offer(name)]} for name in MODELS]})


def body(model, stream=False, prompt_bytes=0, **more):
    """A chat request; `prompt_bytes` adds a system message of that length."""
    messages = QUESTION
    if prompt_bytes:
        words = "You answer in a few words, and you never make anything up. "
        messages = [{"role": "system", "content": (words * (prompt_bytes // len(words) + 1))[:prompt_bytes]}] + QUESTION
    if stream:
        more |= {"stream": True, "stream_options": {"include_usage": True}}
    return json.dumps({"model": model, "messages": messages, "temperature": 0.7, "max_tokens": 1000, **more})
