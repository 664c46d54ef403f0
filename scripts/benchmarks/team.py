"""The workers: one process for each contender, taking turns."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from .orders import Order, Sample

# Beyond the seconds asked for: a slow machine may need some to connect, a hanging client is ended.
_PATIENCE = 60.0


@dataclass(frozen=True)
class Entrant:
    """A contender as a scenario has it."""

    label: str
    contender: str
    """A module of `contenders`."""
    world: str = "asyncio"
    at_once: int = 1
    """Requests at a time, and connections it may have."""
    connections: int = 0
    """Connections it may have, if not as many as requests at a time."""
    options: dict[str, str] = field(default_factory=dict)
    is_http2: bool = False
    """Whether it speaks HTTP/2, and then all on one connection."""
    is_tunnelled: bool = False
    """Whether it goes through a proxy's tunnels."""


@dataclass(frozen=True)
class Place:
    """Where workers run, and what they trust."""

    ours: str
    """Our Python."""
    peers: str
    """The peers' Python."""
    core: int | None
    """The core that all workers share, one at a time."""
    ca: Path
    proxy: str = ""
    """The URL of a proxy, for those who go through one."""

    def python(self, entrant: Entrant) -> str:
        # A floor needs nothing, but stands where ours does, to be under the same event loop.
        return self.ours if entrant.contender in ("ours", "floor") else self.peers


class WorkerFailed(Exception):
    """A worker ended, or did not answer; what it said is on stderr."""


class Worker:
    """A contender's process."""

    def __init__(self, entrant: Entrant, place: Place) -> None:
        self._label = entrant.label
        command = [place.python(entrant), "-P", "-m", "benchmarks.worker", entrant.contender, entrant.world]
        command += ["--ca", str(place.ca), "--connections", str(entrant.connections or entrant.at_once)]
        if entrant.is_http2:
            command.append("--http2")
        if entrant.is_tunnelled:
            command += ["--proxy", place.proxy]
        if place.core is not None:
            command += ["--core", str(place.core)]
        for name, value in entrant.options.items():
            command += ["--option", f"{name}={value}"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def obey(self, order: Order) -> Sample:
        """Have it done; raises WorkerFailed."""
        alarm = threading.Timer(_PATIENCE + order.warm_up + order.seconds, self._process.kill)
        alarm.start()
        try:
            stdin = _pipe(self._process.stdin)
            stdin.write(order.line())
            stdin.flush()
            line = _pipe(self._process.stdout).readline()
        except BrokenPipeError:
            line = ""
        finally:
            alarm.cancel()
        if not line:
            raise WorkerFailed(f"{self._label} did not get through {order}")
        return Sample.parse(line)

    def end(self) -> None:
        _pipe(self._process.stdin).close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        _pipe(self._process.stdout).close()


@contextmanager
def working(entrants: Sequence[Entrant], place: Place) -> Iterator[list[Worker]]:
    """A worker for each; they end with the block."""
    workers: list[Worker] = []
    try:
        workers.extend(Worker(entrant, place) for entrant in entrants)
        yield workers
    finally:
        for worker in workers:
            worker.end()


def _pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream
