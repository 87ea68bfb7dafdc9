"""A client over one epoll, in plain Python: about 20 us a request, so that one processor has room for the upstream, too.

`offered` is the open loop: requests are due at a fixed rate, whatever became of those before, and a latency counts from the
time at which its request was due. What is late because all connections are busy is therefore late (no coordinated
omission). `streams` holds streams and notes when their events came.
"""
import select
import socket
import time
from collections import deque

CONTENT = b'"content":"'
IP_BIND_ADDRESS_NO_PORT = 24
# One source address has some 28,000 ports, which others use, too.
STREAMS_PER_ADDRESS = 5_000
PATIENCE = 90.0


class Failed(Exception):
    """An answer that is none."""


class Connection:
    """One connection and the call that it is busy with. Its address is 127.0.0.2 or one after it: the proxies need the ports of
    127.0.0.1 for the upstream."""

    def __init__(self, port, source):
        self.socket = socket.socket()
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        self.socket.bind((f"127.0.0.{1 + source}", 0))
        self.socket.connect(("127.0.0.1", port))
        self.socket.setblocking(False)
        self.fd = self.socket.fileno()
        self.data, self.due, self.whole = b"", 0.0, 0
        self.first = self.last = 0.0

    def send(self, request, due):
        """Sends a request, which fits into the socket's buffer."""
        self.data, self.due, self.whole, self.first = b"", due, 0, 0.0
        if self.socket.send(request) != len(request):
            raise Failed("the request did not fit into the socket's buffer")

    def receive(self):
        piece = self.socket.recv(262_144)
        if not piece:
            raise Failed(f"the connection ended early: {self.data[:300]!r}")
        return piece

    def answered(self):
        """Reads what is there; true with the last byte of an answer that announces its length."""
        self.data += self.receive()
        if not self.whole:
            end = self.data.find(b"\r\n\r\n")
            if end < 0:
                return False
            head = self.data[:end].lower()
            if b" 200" not in head[:13]:
                raise Failed(repr(self.data[:500]))
            at = head.find(b"content-length:")
            if at < 0:
                return self.data.endswith(b"0\r\n\r\n")
            self.whole = end + 4 + int(head[at + 15:].split(b"\r\n", 1)[0])
        return len(self.data) >= self.whole


class Loop:
    """An epoll whose waits end to the microsecond: epoll's own count milliseconds, select's do not."""

    def __init__(self):
        self.epoll = select.epoll()
        self.by_fd = {}

    def add(self, connection):
        self.by_fd[connection.fd] = connection
        self.epoll.register(connection.fd, select.EPOLLIN)

    def remove(self, connection):
        self.epoll.unregister(connection.fd)
        del self.by_fd[connection.fd]
        connection.socket.close()

    def wait(self, seconds):
        """Connections that have something."""
        if seconds > 0:
            select.select([self.epoll], [], [], seconds)
        return [self.by_fd[fd] for fd, _ in self.epoll.poll(0, 512)]

    def close(self):
        for connection in self.by_fd.values():
            connection.socket.close()
        self.epoll.close()


def offered(target, payload, rate, seconds, connections):
    """So many requests a second over so many connections; gives seconds from due to done, in the order of their ends."""
    request, loop = target.request(payload), Loop()
    for _ in range(connections):
        loop.add(Connection(target.port, source=1))
    idle, waiting, ended = list(loop.by_fd.values()), deque(), []
    count, number, now = int(rate * seconds), 0, time.monotonic
    began = now() + 0.01
    while len(ended) < count:
        while number < count and began + number / rate <= now():
            waiting.append(began + number / rate)
            number += 1
        while waiting and idle:
            idle.pop().send(request, waiting.popleft())
        pause = max(0.0, began + number / rate - now()) if number < count else 1.0
        for connection in loop.wait(pause):
            if connection.answered():
                ended.append(now() - connection.due)
                idle.append(connection)
        if now() > began + seconds + PATIENCE:
            raise Failed(f"{count - len(ended)} of {count} requests have no answer")
    loop.close()
    return ended


class Streams:
    """What streams did: seconds to their first content, and between their events."""

    def __init__(self):
        self.first, self.gaps, self.stalled, self.ended = [], [], 0, 0
        # Why streams failed, where that is allowed.
        self.failed = []


def streams(target, payload, count, spread, seconds=0.0, stall=float("inf"), watch=None, tolerant=False):
    """Holds `count` streams, begun evenly over `spread` seconds; each begins anew until `seconds` have passed. `stall`: the
    gap, seconds, of a stream that counts as stalled. `watch` is called every 0.2 s. `tolerant`: a stream that fails is
    noted, and not the end of it all."""
    request, loop, seen, now = target.request(payload), Loop(), Streams(), time.monotonic
    began = looked = now()
    begun, open_ = 0, 0
    while begun < count or open_:
        while begun < count and began + spread * begun / count <= now():
            connection = Connection(target.port, 1 + begun // STREAMS_PER_ADDRESS)
            connection.stalled = False
            loop.add(connection)
            connection.send(request, now())
            begun, open_ = begun + 1, open_ + 1
        for connection in loop.wait(max(0.0, began + spread * begun / count - now()) if begun < count else 0.2):
            try:
                ended = follow(connection, seen, stall)
            except (Failed, OSError) as failed:
                if not tolerant:
                    raise
                seen.failed.append(str(failed))
                loop.remove(connection)
                open_ -= 1
                continue
            if ended and now() - began < seconds:
                connection.send(request, now())
            elif ended:
                # Whatever the proxy does with an idle connection is no failure of a stream.
                loop.remove(connection)
                open_ -= 1
        if watch and now() - looked > 0.2:
            looked = now()
            watch()
        if now() > began + spread + seconds + PATIENCE:
            raise Failed(f"{open_} of {count} streams did not end")
    loop.close()
    return seen


def follow(connection, seen, stall):
    """Reads a piece of a stream and notes the time of its content; true at its end."""
    piece = connection.receive()
    now = time.monotonic()
    if not connection.data and b" 200" not in piece[:13]:
        raise Failed(repr(piece[:1500]))
    # The first event names the role and has no content: `"content":""`.
    with_content = any(after[:1] != b'"' for after in piece.split(CONTENT)[1:])
    if with_content:
        if connection.first:
            gap = now - connection.last
            seen.gaps.append(gap)
            if gap > stall and not connection.stalled:
                connection.stalled = True
                seen.stalled += 1
        else:
            connection.first = now
            seen.first.append(now - connection.due)
        connection.last = now
    connection.data = (connection.data + piece)[-64:]
    if not connection.data.endswith(b"0\r\n\r\n"):
        return False
    if b"[DONE]" not in connection.data:
        raise Failed(f"a stream ended without [DONE]: {connection.data!r}")
    seen.ended += 1
    connection.data = b""
    return True
