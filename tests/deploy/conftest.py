"""Where things are, and what several tests need: Helm's output, and a running process that ends with its test."""
import json
import os
import pathlib
import socket
import subprocess
import time
import urllib.error
import urllib.request

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy/helm/llm-gateway"
HOME = pathlib.Path(os.environ["DEPLOY_HOME"])
HELM = os.environ["HELM"]
GATEWAY = os.environ["GATEWAY"]
BIN = HOME / "venv/bin"
# The default values, and those in the chart's ci folder.
VALUES = {"default": None} | {path.stem: path for path in sorted((CHART / "ci").glob("*.yaml"))}
ADMIN_KEY = "an-admin-key-of-the-deployment-tests"
# What a Secret would hold. Nobody is asked with these.
SECRETS = {
    "LLM_GATEWAY_ADMIN_KEY": ADMIN_KEY,
    "DATABASE_URL": "postgres://gateway:x@postgres:5432/gateway",
    "REDIS_URL": "redis://:x@redis:6379/0",
    "OPENAI_API_KEY": "x" * 20,
    "ANTHROPIC_API_KEY": "x" * 20,
}


def run(*command, **more):
    """Runs a command to its end; gives it with its output as text."""
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=120, cwd=ROOT, **more)


def template(values=None, *options):
    """What Helm makes of the chart: the finished process."""
    chosen = ["-f", values] if values else []
    return run(HELM, "template", "gw", CHART, "--namespace", "llm", *chosen, *options)


def objects(text):
    """The objects of a stream of YAML documents."""
    return [one for one in yaml.safe_load_all(text) if one]


def check(config, folder, more=()):
    """Has `llm-gateway check` read a configuration; gives the finished process."""
    file = folder / "checked.yaml"
    file.write_text(config)
    return run(GATEWAY, "check", "--config", file, env=SECRETS | dict(more))


def free_port():
    """A port that nobody has just now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def ask(url, key=None, body=None):
    """Status and JSON (or text) of an answer."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    request = urllib.request.Request(url, data=json.dumps(body).encode() if body else None, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            status, text = answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        status, text = error.code, error.read().decode()
    try:
        return status, json.loads(text)
    except ValueError:
        return status, text


def eventually(what, seconds=30):
    """Asks again until the answer is true; gives it."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            found = what()
            if found:
                return found
        except OSError:
            found = None
        assert time.monotonic() < deadline, f"not within {seconds} s: {found}"
        time.sleep(0.05)


@pytest.fixture
def start(tmp_path):
    """Starts processes; what they said is in files, and they end with the test."""
    running = []

    def starting(command, **more):
        said = tmp_path / f"said-{len(running)}"
        with said.open("w") as out:
            process = subprocess.Popen([str(part) for part in command], stdout=out, stderr=subprocess.STDOUT, **more)
        process.said = said.read_text
        running.append(process)
        return process

    yield starting
    for process in running:
        process.terminate()
    for process in running:
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
