"""Something that takes the load."""
from dataclasses import dataclass, field
from pathlib import Path

from .process import Process


@dataclass
class Target:
    """Where it listens, what its models' names begin with, whose CPU time counts, and what it wants to be asked with."""

    name: str
    port: int
    prefix: str = ""
    process: Process | None = None
    key: str = "none"
    # The gateway's management listener.
    ops: int = 0
    # Headers besides the key.
    headers: tuple = ()
    path: str = "/v1/chat/completions"
    # Models that go by another name there.
    names: dict = field(default_factory=dict)
    # The gateway's configuration file.
    config: Path | None = None

    def model(self, name):
        """What a model of the stub is called there."""
        return self.names.get(name, self.prefix + name)

    def head(self):
        """All headers of a request, by name."""
        return {"Content-Type": "application/json", "Authorization": f"Bearer {self.key}", **dict(self.headers)}

    def request(self, payload):
        """A whole HTTP request, bytes."""
        payload = payload.encode()
        lines = [f"POST {self.path} HTTP/1.1", "Host: bench", f"Content-Length: {len(payload)}"]
        lines += [f"{name}: {value}" for name, value in self.head().items()]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + payload
