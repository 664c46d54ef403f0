"""The clients, one a module, each used the way its documentation does: one session, retries and the environment off.

A module has

- `open_client(setup)`: a client that holds one connection where it can be told so, and gives up after its timeout;
- `is_own(exc)`: whether an exception is one that the client documents;
- `describe()`: what it is, with versions.

A client is blocking or async; what an async one returns is awaited on an event loop that also runs between requests.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from importlib.metadata import version
from typing import Protocol

from ..messages import Ask, Reply


class Client(Protocol):
    def request(self, ask: Ask) -> Reply | Awaitable[Reply]:
        """Send a request and read its whole response."""

    def begin(self, url: str) -> bytes | Awaitable[bytes]:
        """Send a GET and read the first part of the body of its response."""

    def rest(self) -> bytes | Awaitable[bytes]:
        """Read the rest of it."""

    def close(self) -> Awaitable[None] | None: ...


def versions(*names: str) -> str:
    return ", ".join(f"{name} {version(name)}" for name in names)


def is_of(exc: BaseException, *packages: str) -> bool:
    """Whether an exception is of a class that a package defines."""
    return type(exc).__module__.partition(".")[0] in packages


def pairs(fields: Iterable[tuple[bytes, bytes]]) -> tuple[tuple[str, str], ...]:
    return tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in fields)
