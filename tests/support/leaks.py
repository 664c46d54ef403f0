"""Leak checks: after a test there are no more threads and sockets than before it.

Tasks, timers and async generators are checked by the world that ran the test (`worlds.py`); forgotten objects by the
ResourceWarnings of a garbage collection, which are errors.
"""

from __future__ import annotations

import gc
import os
import socket
import threading
import time
from pathlib import Path

_FD_DIRECTORY = Path("/proc/self/fd")

# Threads that were told to end, and sockets that another thread closes, take a moment.
_SETTLING_TIME = 2.0


class Snapshot:
    """What was there before a test."""

    def __init__(self) -> None:
        self.threads = set(threading.enumerate())
        self.sockets = set(_open_sockets())

    def leaks(self) -> list[str]:
        """What is there now and was not then, in words, after giving it time to go away."""
        gc.collect()
        deadline = time.monotonic() + _SETTLING_TIME
        while (leaks := self._leaks()) and time.monotonic() < deadline:
            time.sleep(0.005)
        return leaks

    def _leaks(self) -> list[str]:
        threads = [t for t in threading.enumerate() if t not in self.threads and t.is_alive() and not t.daemon]
        sockets = {inode: fd for inode, fd in _open_sockets().items() if inode not in self.sockets}
        return [f"thread {t.name}" for t in threads] + [_describe(fd) for fd in sockets.values()]


def _open_sockets() -> dict[str, int]:
    """Inode to descriptor of the open sockets of this process; nothing where there is no /proc."""
    sockets: dict[str, int] = {}
    if not _FD_DIRECTORY.is_dir():
        return sockets
    for name in os.listdir(_FD_DIRECTORY):
        try:
            inode = os.readlink(_FD_DIRECTORY / name)
        except OSError:
            continue  # the descriptor of the listing itself
        if inode.startswith("socket:"):
            sockets[inode] = int(name)
    return sockets


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
