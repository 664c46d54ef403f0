"""Leak checks: after a test there are no more threads, sockets and other descriptors than before it.

Tasks, timers and async generators are checked by the world that ran the test (`worlds.py`); forgotten objects by the
ResourceWarnings of a garbage collection, which are errors.
"""

from __future__ import annotations

import gc
import importlib.util
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

_FD_DIRECTORY = "/proc/self/fd"

# Threads that were told to end, and sockets that another thread closes, take a moment.
_SETTLING_TIME = 10.0


def open_what_stays() -> None:
    """Make what is there from its first use to the end of the process, so that it is no leak of the first user."""
    if importlib.util.find_spec("uvloop") is not None:
        import uvloop

        uvloop.new_event_loop().close()  # libuv's pipe for signals


_kept: Counter[str] = Counter()


@contextmanager
def kept() -> Iterator[None]:
    """What is opened within belongs to the session, not to the test that happens to be the first to need it."""
    before = Counter(_open_descriptors().values())
    try:
        yield
    finally:
        _kept.update(Counter(_open_descriptors().values()) - before)


class Snapshot:
    """What was there before a test."""

    def __init__(self) -> None:
        self.threads = set(threading.enumerate())
        self.descriptors = Counter(_open_descriptors().values())
        self.kept = _kept.copy()

    def leaks(self) -> list[str]:
        """What is there now and was not then, in words, after giving it time to go away."""
        gc.collect()
        deadline = time.monotonic() + _SETTLING_TIME
        while (leaks := self._leaks()) and time.monotonic() < deadline:
            time.sleep(0.005)
        return leaks

    def _leaks(self) -> list[str]:
        threads = [t for t in threading.enumerate() if t not in self.threads and t.is_alive() and not t.daemon]
        known, left = self.descriptors + (_kept - self.kept), []
        for fd, what in _open_descriptors().items():
            if known[what]:
                known[what] -= 1
            else:
                left.append(_describe(fd) if what.startswith("socket:") else f"descriptor {fd}: {what}")
        return [f"thread {t.name}" for t in threads] + left


def _open_descriptors() -> dict[int, str]:
    """What each open descriptor of this process refers to; nothing where there is no /proc.

    Sockets and pipes have a number of their own there, and files a path. Of what has neither, as an epoll, there is
    the kind, which is why they are counted.
    """
    descriptors: dict[int, str] = {}
    if not os.path.isdir(_FD_DIRECTORY):
        return descriptors
    for name in os.listdir(_FD_DIRECTORY):
        try:
            descriptors[int(name)] = os.readlink(f"{_FD_DIRECTORY}/{name}")
        except OSError:
            continue  # the descriptor of the listing itself
    return descriptors


def _describe(fd: int) -> str:
    try:
        with socket.socket(fileno=os.dup(fd)) as sock:
            local = sock.getsockname()
            try:
                remote = sock.getpeername()
            except OSError:
                remote = "nobody"
            return f"socket {fd}: {sock.family.name} from {local!r} to {remote!r}"
    except OSError:
        return f"socket {fd}, closed meanwhile"
