"""One request to JavaScript, in whichever way it is sent: values, and the interface that all ways have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from .._clock import Clock
from .._upload import SMALL_BODY

__all__ = ["Call", "FetchHead", "FetchRequest", "head_deadline"]


@dataclass(frozen=True, slots=True)
class FetchRequest:
    """What goes to JavaScript.

    Args:
        headers: without those that the runtime refuses.
        content: the body, where it is in one piece.
        options: as in JavaScript's RequestInit.
    """

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    content: bytes | None
    options: Mapping[str, str | bool]


class FetchHead(NamedTuple):
    """What JavaScript tells of a response before its body."""

    status: int
    reason: str
    fields: list[tuple[str, str]]
    url: str
    redirected: bool
    type: str


class Call(Protocol):
    """One request to JavaScript, used once."""

    sent_by: str

    @property
    def is_untouched(self) -> bool:
        """Whether there is a body of which JavaScript has not asked for any part."""

    async def start(self, clock: Clock) -> FetchHead:
        """Send the request, and wait for the head of its response.

        Raises: HTTPCoreError, and what the caller's body raises. Then, and when it is cancelled: call `abort`.
        """

    async def read(self, clock: Clock) -> bytes:
        """The next part of the body; b"" at its end. Raises: as `start`."""

    def abort(self) -> None:
        """End it at once, so that the server sees it. Never waits, never fails, idempotent."""


def head_deadline(request: FetchRequest, clock: Clock) -> float:
    """When the head must be there. JavaScript does not tell how far a request has gone, so that connecting counts as
    waiting for the response, and a body that is more than a few packets may take the time for sending on top."""
    timeout = clock.timeout
    is_large = request.content is not None and len(request.content) > SMALL_BODY
    if timeout.read is None or (is_large and timeout.write is None):
        return clock.deadline(None)
    return clock.deadline(timeout.read + (timeout.write or 0.0 if is_large else 0.0))
