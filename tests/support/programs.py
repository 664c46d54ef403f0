"""Programs that the tests run as real peers: where they are, free ports for them, and whether they listen yet."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

from .servers import running

__all__ = ["find", "free_ports", "is_listening", "listening", "missing"]

# Two programs may be given the same free port; a third time in a row they will not.
_ATTEMPTS = 3
_START_TIMEOUT = 10.0


def find(program: str, how: str) -> str:
    """The path of a program. Skips where there is none, except in CI.

    Args:
        how: to install it, as in "install it with `apt-get install nginx-light` (Debian, Ubuntu)".
    """
    # Debian has many where only root's PATH looks.
    folders = [os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin", "/usr/local/bin"]
    path = shutil.which(program, path=os.pathsep.join(folders))
    if path is None:
        missing(program, how)
    return path


def missing(what: str, how: str) -> NoReturn:
    """Fails in CI, skips elsewhere."""
    if "CI" in os.environ:
        pytest.fail(f"{what} is not installed, and CI skips nothing; {how}")
    pytest.skip(f"{what} is not installed; {how}")


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [sock.getsockname()[1] for sock in sockets]
    finally:
        for sock in sockets:
            sock.close()


def is_listening(process: subprocess.Popen[bytes], address: int | str) -> bool:
    """Wait until somebody listens on a port of 127.0.0.1, or on a unix socket; False when the process ends instead."""
    deadline = time.monotonic() + _START_TIMEOUT
    while process.poll() is None and time.monotonic() < deadline:
        with socket.socket(socket.AF_INET if isinstance(address, int) else socket.AF_UNIX) as probe:
            try:
                probe.connect(("127.0.0.1", address) if isinstance(address, int) else address)
                return True
            except OSError:
                time.sleep(0.01)
    return False


@contextmanager
def listening(command: Callable[[Sequence[int]], Sequence[str]], ports: int, log: Path) -> Iterator[Sequence[int]]:
    """Run a program that listens on so many free ports, which it gets, once it does on the last of them.

    Args:
        command: of these ports; it may write a configuration.
        log: of all that it prints.
    """
    for _ in range(_ATTEMPTS):
        with ExitStack() as stack:
            chosen = free_ports(ports)
            process = stack.enter_context(running(command(chosen), log, True))
            if is_listening(process, chosen[-1]):
                yield chosen
                return
    raise RuntimeError(f"{command.__qualname__} did not start:\n{log.read_text()}")
