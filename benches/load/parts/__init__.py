"""The parts of a run, by name. Each is a function of the `Bench` that gives rows; the first line of its module says what it
measures, and stands in the document."""
from . import (bodies, failover, latency, observed, overload, peers, reuse, scaling, start, streaming, streams, throughput,
    translated, ttft)

PARTS = {"throughput": throughput, "latency": latency, "streaming": streaming, "ttft": ttft, "bodies": bodies,
         "streams": streams, "scaling": scaling, "reuse": reuse, "start": start, "translated": translated,
         "observed": observed, "failover": failover, "overload": overload, "peers": peers}
