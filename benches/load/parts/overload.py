"""A provider that takes 4 calls of 100 ms at a time: one key asks for a quarter of it, alone and beside one that asks for
twelve times all of it."""
import asyncio
import re
import time

from .. import gateway as gateways
from ..quantiles import at
from ..report.rows import Row
from ..upstream import body


async def one_call(target, request, idle, ended):
    """A call over a connection that is idle, or a new one; notes status and milliseconds."""
    began = time.monotonic()
    reader, writer = idle.pop() if idle else await asyncio.open_connection("127.0.0.1", target.port)
    writer.write(request)
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)).decode()
    await reader.readexactly(int(re.search(r"(?i)content-length: (\d+)", head).group(1)))
    ended.append((int(head.split(" ", 2)[1]), (time.monotonic() - began) * 1000))
    idle.append((reader, writer))


async def offered(target, request, rate, count):
    """So many calls at a fixed rate, whatever becomes of them; those that are refused, too."""
    began, idle, ended, tasks = time.monotonic(), [], [], []
    for number in range(count):
        await asyncio.sleep(max(0, began + number / rate - time.monotonic()))
        tasks.append(asyncio.create_task(one_call(target, request, idle, ended)))
    await asyncio.gather(*tasks)
    for _, writer in idle:
        writer.close()
    return ended


def run(bench):
    target, own = bench.profile("governed"), bench.profile("governed").key
    requests = []
    for _ in range(2):
        target.key = gateways.new_key(target)
        requests.append(target.request(body("small/slow:ms=100")))
    target.key = own
    modest, greedy = requests

    async def beside():
        began = time.monotonic()
        crowd, few = await asyncio.gather(offered(target, greedy, 500, 5000), offered(target, modest, 10, 100))
        return crowd, few, time.monotonic() - began

    alone = asyncio.run(offered(target, modest, 10, 100))
    crowd, few, took = asyncio.run(beside())
    times = lambda ended, status: [ms for got, ms in ended if got == status]
    good, shed = len(times(crowd, 200)) + len(times(few, 200)), times(crowd, 503)
    row = lambda figure, unit, value, digits=1: Row(f"overload: {figure}", unit, {"governed": value}, digits=digits)
    return [
        row("goodput of the 40 a second there are", "/s", good / took),
        *(row(f"shed, {name}", "ms", at(shed, share)) for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))),
        row("the modest key's calls answered, of 100", "", len(times(few, 200)), 0),
        row("its p99 alone", "ms", at(times(alone, 200), 0.99), 0),
        row("its p99 beside the greedy one", "ms", at(times(few, 200), 0.99), 0),
    ]
