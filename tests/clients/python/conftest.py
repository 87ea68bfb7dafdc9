"""Where the gateway is, and what its ledger says."""
import json
import os
import time
import urllib.request
import uuid

import openai
import pytest

URL = os.environ["GATEWAY_URL"]
KEY = os.environ["GATEWAY_KEY"]
ADMIN = os.environ["GATEWAY_METRICS"].removesuffix("/metrics") + "/admin/v1"


def ledger(request_id, rows=1):
    """The ledger rows of a request, once there are that many."""
    deadline = time.monotonic() + 10
    while True:
        request = urllib.request.Request(f"{ADMIN}/requests?limit=200", headers={"Authorization": f"Bearer {os.environ['GATEWAY_ADMIN_KEY']}"})
        found = [row for row in json.load(urllib.request.urlopen(request))["data"] if row["request_id"] == request_id]
        if len(found) >= rows:
            return found
        assert time.monotonic() < deadline, f"{len(found)} rows of {request_id}"
        time.sleep(0.05)


@pytest.fixture
def client():
    return openai.OpenAI(base_url=URL, api_key=KEY, max_retries=0, timeout=20)


@pytest.fixture
def request_id():
    return f"client-{uuid.uuid4()}"
