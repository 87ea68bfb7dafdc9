"""Where the gateway is, and what its ledger says."""
import json
import os
import re
import time
import urllib.request
import uuid

import openai
import pytest

URL = os.environ["GATEWAY_URL"]
KEY = os.environ["GATEWAY_KEY"]
# The format behind the gateway: a client sees no difference but where the format itself has none of something.
WIRE = os.environ.get("GATEWAY_WIRE", "openai")
ADMIN = os.environ["GATEWAY_METRICS"].removesuffix("/metrics") + "/admin/v1"


def admin(path, body=None):
    """Asks the management API."""
    headers = {"Authorization": f"Bearer {os.environ['GATEWAY_ADMIN_KEY']}", "Content-Type": "application/json"}
    request = urllib.request.Request(ADMIN + path, data=json.dumps(body).encode() if body else None, headers=headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def in_flight():
    """How many calls the gateway is serving."""
    with urllib.request.urlopen(os.environ["GATEWAY_METRICS"], timeout=10) as answer:
        return int(re.search(r"^llm_gateway_in_flight_requests (\d+)$", answer.read().decode(), re.MULTILINE).group(1))


def settled(request_id, client):
    """The rows of a request, once a later call is in the ledger: whatever it caused before is there by then."""
    marker = f"{request_id}-after"
    client.chat.completions.create(model="stub/echo", messages=[{"role": "user", "content": "x"}], extra_headers={"x-request-id": marker})
    ledger(marker)
    return ledger(request_id)


def cancelled(request_id):
    """True once the call is booked as cancelled and nothing is in flight."""
    deadline = time.monotonic() + 10
    while in_flight() and time.monotonic() < deadline:
        time.sleep(0.05)
    return [row["outcome"] for row in ledger(request_id)] == ["cancelled"] and in_flight() == 0


def ledger(request_id, rows=1, completed=0):
    """The ledger rows of a request, once there are that many, of which so many completed."""
    deadline = time.monotonic() + 10
    while True:
        found = [row for row in admin("/requests?limit=200")["data"] if row["request_id"] == request_id]
        if len(found) >= rows and sum(row["outcome"] == "completed" for row in found) >= completed:
            return found
        assert time.monotonic() < deadline, f"{len(found)} rows of {request_id}"
        time.sleep(0.05)


@pytest.fixture
def client():
    return openai.OpenAI(base_url=URL, api_key=KEY, max_retries=0, timeout=20)


@pytest.fixture
def request_id():
    return f"client-{uuid.uuid4()}"
