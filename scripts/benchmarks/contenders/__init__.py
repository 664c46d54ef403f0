"""The clients, one a module, each used the way its documentation recommends for speed.

A module has `async_client(setup)`, `blocking_client(setup)` or both: context managers that give a client. All of them
verify TLS, keep as many connections as there are requests at a time, check the status, and read the whole body. Those
that speak HTTP/2 have all requests on one connection, and send big bodies as parts that come one by one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Setup:
    """What a contender is told."""

    world: str
    """"asyncio", "uvloop", "trio" or "blocking"."""
    connections: int
    """How many it may have open, and keep."""
    ca: str
    """The file with the certificate that TLS is verified against."""
    options: dict[str, str]
    """Arguments of its own, such as an engine."""
    is_http2: bool = False
    """Whether it is to speak HTTP/2."""
    proxy: str | None = None
    """The URL of a proxy that everything is to go through."""


class AsyncClient(Protocol):
    async def get(self, url: str) -> int:
        """Send one GET and read its whole body at once; returns its length."""

    async def download(self, url: str, rest: Callable[[int], Awaitable[None]] | None) -> int:
        """Send one GET and read its body part by part, resting after each where asked to; returns its length."""

    async def upload(self, url: str, size: int) -> int:
        """Send one POST with a body of so many bytes, part by part where it can; returns its length."""


class BlockingClient(Protocol):
    def get(self, url: str) -> int:
        """Send one GET and read its whole body at once; returns its length."""

    def download(self, url: str, rest: Callable[[int], None] | None) -> int:
        """Send one GET and read its body part by part, resting after each where asked to; returns its length."""


# As large as the files and streams of most applications are read.
_PART = bytes(65536)


async def parts(size: int) -> AsyncIterator[bytes]:
    """A body of so many bytes."""
    while size > 0:
        yield _PART[:size]
        size -= len(_PART)


class Refused(Exception):
    """A response that is not a 200: what was measured is not what was meant."""


def check(status: int) -> None:
    if status != 200:
        raise Refused(f"the server answered {status}")
