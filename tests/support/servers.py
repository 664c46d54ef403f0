"""Real servers, each in a process of its own: uvicorn and hypercorn with the application of `app.py`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from . import leash
from .leaks import kept
from .tls import CertificateAuthority

_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Server:
    """Where a real server listens: an origin such as `http://127.0.0.1:1234`, to which a path can be added."""

    name: str
    http: str
    https: str
    log: Path
    """Everything the server said."""


@contextmanager
def running(command: Sequence[str], log: Path, logs_stdout: bool = False) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server; it ends with the block, or with us if we are killed. Its stderr goes to the log.

    Args:
        logs_stdout: so does its stdout, which otherwise is for us to read.
    """
    # A test that asks for a server in its body may be the first to want it.
    with log.open("ab") as stderr, kept():
        process = subprocess.Popen(
            [sys.executable, leash.__file__, *command],
            stdin=subprocess.PIPE,
            stdout=stderr if logs_stdout else subprocess.PIPE,
            stderr=stderr,
            cwd=_ROOT,
        )
    with process:
        try:
            yield process
        finally:
            # The end of its stdin is what ends it; leaving `process` waits for it.
            _pipe(process.stdin).close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.terminate()


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream


@contextmanager
def server_ports(module: str, arguments: Sequence[str], log: Path) -> Iterator[tuple[int, int]]:
    """A module that is run, and prints the ports on which it listens in clear and over TLS."""
    with running([sys.executable, "-m", module, *arguments], log) as process:
        ports = _pipe(process.stdout).readline().split()
        if len(ports) != 2:
            raise RuntimeError(f"{module} did not start:\n{log.read_text()}")
        http, https = (int(port) for port in ports)
        yield http, https


@contextmanager
def asgi_server(name: str, ca: CertificateAuthority, directory: Path) -> Iterator[Server]:
    """uvicorn or hypercorn, in clear and over TLS."""
    log = directory / f"{name}.log"
    arguments = [name, str(ca.server_chain_path), str(ca.server_key_path)]
    with server_ports("tests.support.asgi_server", arguments, log) as (http, https):
        yield Server(name, f"http://127.0.0.1:{http}", f"https://127.0.0.1:{https}", log)
