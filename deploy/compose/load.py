"""Calls the gateway as a mixed crowd would, until it is ended: what makes the dashboards of a demo move.

Four callers with keys of their own (made over the management API), a few calls a second, streams among them, some that
fail over, fail, are too many, or leave before the answer is whole. Needs nothing but Python.
"""
import json
import os
import random
import signal
import sys
import threading
import time
import urllib.error
import urllib.request

API = os.environ.get("GATEWAY_URL", "http://127.0.0.1:8080")
OPS = os.environ.get("GATEWAY_OPS_URL", "http://127.0.0.1:9090")
ADMIN_KEY = os.environ["LLM_GATEWAY_ADMIN_KEY"]
# Calls a second, all callers together; how long, seconds (0: until ended).
RATE = float(os.environ.get("LOAD_RATE", "8"))
SECONDS = float(os.environ.get("LOAD_SECONDS", "0"))

# How often, and what: what the stub is to do, model, more fields, part of the stream that is read (1: all).
MIX = [
    (30, "/echo", "fast", {}, 1),
    (25, "/drip:events=20,ms=60", "fast", {"stream": True, "stream_options": {"include_usage": True}}, 1),
    (8, "/reasoning", "fast", {"stream": True}, 1),
    (8, "/slow:ms=900", "large", {}, 1),
    (8, "/flaky:every=2", "large", {}, 1),
    (4, "/drip:events=100,ms=50", "large", {"stream": True}, 0.1),
    (3, "/error:status=500", "west/gpt-4o-mini", {}, 1),
    (2, "/error:status=429,retry_after=1", "east/gpt-4o-mini", {}, 1),
    (2, "/truncate:after=3", "large", {"stream": True}, 1),
    (1, "/echo", "no-such-model", {}, 1),
]
CALLERS = [
    {"name": "load-search", "project": "search", "tags": {"team": "search"}},
    {"name": "load-support", "project": "support", "tags": {"team": "support"}, "budget": {"limit_usd": "0.05", "period": "day"}},
    {"name": "load-batch", "project": "batch", "share": 10},
    {"name": "load-limited", "project": "trial", "rpm": 20},
]
ended = threading.Event()


def post(url, key, body):
    """Sends JSON; gives the open answer."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    return urllib.request.urlopen(urllib.request.Request(url, data=json.dumps(body).encode(), headers=headers), timeout=30)


def make_key(caller):
    """A new key for a caller."""
    with post(f"{OPS}/admin/v1/keys", ADMIN_KEY, caller) as answer:
        return json.load(answer)["key"]


def call(key):
    """One call; gives how it ended, in a word."""
    _, command, model, fields, part = random.choices(MIX, weights=[row[0] for row in MIX])[0]
    words = " ".join(random.choices("what is a gateway for and who pays for its answers".split(), k=random.randint(5, 60)))
    body = {"model": model, "messages": [{"role": "user", "content": f"{command} {words}"}], **fields}
    try:
        with post(f"{API}/v1/chat/completions", key, body) as answer:
            # The first lines and then gone, as a user who closes the page.
            if part < 1:
                for _ in range(10):
                    answer.readline()
                return "left"
            answer.read()
            return "ok"
    except urllib.error.HTTPError as error:
        error.close()
        return str(error.code)
    except OSError as error:
        return type(error).__name__


def caller(key, counts):
    """Calls again and again, as often as a share of the rate."""
    while not ended.wait(random.expovariate(RATE / len(CALLERS) / 4)):
        how = call(key)
        counts[how] = counts.get(how, 0) + 1


def main():
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: ended.set())
    counts = {}
    keys = [make_key(one) for one in CALLERS]
    # Four threads each, so that a slow answer does not keep a caller from calling.
    threads = [threading.Thread(target=caller, args=(key, counts), daemon=True) for key in keys for _ in range(4)]
    for thread in threads:
        thread.start()
    began = last = time.monotonic()
    while not ended.wait(0.2):
        now = time.monotonic()
        if SECONDS and now - began >= SECONDS:
            ended.set()
        if now - last >= 30:
            last = now
            print(json.dumps(dict(sorted(counts.items()))))
    for thread in threads:
        thread.join(10)
    print(json.dumps(dict(sorted(counts.items()))))
    return 0 if counts.get("ok") else 1


if __name__ == "__main__":
    sys.exit(main())
