"""What is said between the bench and its workers: one line of JSON each way."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace


@dataclass(frozen=True)
class Order:
    """Something a worker is to do."""

    task: str
    """"rate" for whole small exchanges, "download" for bodies read part by part, "upload" for bodies sent, "memory" for
    one body that is read."""
    url: str
    at_once: int = 1
    seconds: float = 1.0
    warm_up: float = 0.2
    """Seconds of the same before anything is counted: connections are made, caches filled."""
    is_slow: bool = False
    """For "memory": whether the reader rests now and then."""
    size: int = 0
    """For "upload": bytes of a body."""
    profile: str = ""
    """"time" or "calls": also say where they go."""

    def profiled(self, profile: str) -> Order:
        """The same with a profile, and without a warm-up, which would be in it."""
        return replace(self, profile=profile, warm_up=0.0)

    def line(self) -> str:
        return json.dumps(asdict(self)) + "\n"

    @classmethod
    def parse(cls, line: str) -> Order:
        return cls(**json.loads(line))


@dataclass(frozen=True)
class Sample:
    """What a worker counted in one turn."""

    requests: int
    received: int
    """Bytes of bodies, those sent in an "upload"."""
    wall: float
    user: float
    """Seconds of CPU outside the kernel, of all threads."""
    system: float
    grown: int = 0
    """Bytes by which the peak of resident memory passed what was in use before."""
    text: str = ""
    """A profile."""

    @property
    def cpu(self) -> float:
        return self.user + self.system

    def line(self) -> str:
        return json.dumps(asdict(self)) + "\n"

    @classmethod
    def parse(cls, line: str) -> Sample:
        return cls(**json.loads(line))
