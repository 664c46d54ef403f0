"""What an HTTP/1.1 engine makes of the bytes of a peer, as a value to compare: engine with engine, cut with cut.

h11 and httptools agree on everything, to the word. What zttp may do otherwise is in `engine_disagreements`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from httpcore import RemoteProtocolError
from httpcore._engines import make_http11_engine
from httpcore._engines.framing import EndOfBody, ResponseHead
from httpcore._engines.http11 import HTTP11Engine
from tests.support.engine_disagreements import DISAGREEMENTS

__all__ = ["Outcome", "Sent", "asking", "may_disagree", "new_engine", "outcome_of"]

_MAX_HEAD = 256 * 1024
_MAX_COUNT = 500


@dataclass
class Sent:
    """A request, as engines look at it."""

    method: bytes = b"GET"
    target: bytes = b"/"
    headers: Sequence[tuple[bytes, bytes]] = ((b"host", b"example.org"),)
    is_chunked: bool = False
    may_upgrade: bool = False


@dataclass
class Outcome:
    """What became of the bytes of a peer."""

    heads: list[ResponseHead]
    body: bytes = b""
    trailers: tuple[tuple[bytes, bytes], ...] | None = None
    error: str = ""
    is_complete: bool = False
    is_reusable: bool = False
    is_switched: bool = False
    unread: bytes = b""

    @property
    def fate(self) -> tuple[object, ...]:
        """All that must be the same however the bytes were cut; of an error only that there is one."""
        if self.error:
            return ("refused",)
        return (self.heads, self.body, self.trailers, self.is_complete, self.is_reusable, self.is_switched)


def new_engine(engine: str, max_header_bytes: int = _MAX_HEAD, max_header_count: int = _MAX_COUNT) -> HTTP11Engine:
    return make_http11_engine(engine, max_header_bytes, max_header_count)


def asking(method: bytes, may_upgrade: bool) -> Sent:
    if not may_upgrade:
        return Sent(method)
    return Sent(method, headers=((b"host", b"example.org"), (b"upgrade", b"x")), may_upgrade=True)


def outcome_of(reader: HTTP11Engine, request: Sent, pieces: Iterable[bytes], ends: bool = False) -> Outcome:
    reader.send_head(request)
    outcome = Outcome([])
    body: list[bytes] = []
    try:
        for piece in pieces:
            _file(reader.receive(piece), outcome, body)
        if ends:
            _file(reader.receive_end(), outcome, body)
    except RemoteProtocolError as exc:
        outcome.error = str(exc)
        assert outcome.error
    outcome.body = b"".join(body)
    outcome.is_complete, outcome.is_switched = reader.is_complete, reader.is_switched
    outcome.is_reusable, outcome.unread = reader.is_reusable, reader.unread
    return outcome


def _file(events: Iterable[object], outcome: Outcome, body: list[bytes]) -> None:
    for event in events:
        assert outcome.trailers is None, "an event after the end"
        if isinstance(event, ResponseHead):
            assert not body
            outcome.heads.append(event)
        elif isinstance(event, EndOfBody):
            outcome.trailers = event.trailers
        else:
            assert isinstance(event, bytes)
            assert event, "an empty part would look like the end"
            body.append(event)


def may_disagree(expected: Outcome, zttp: Outcome) -> bool:
    """Whether zttp has a reason of its own to refuse what the others deliver (`expected`): one of `DISAGREEMENTS`.

    Where the others refuse as well, it may use words of its own.
    """
    if not zttp.error or zttp.heads != expected.heads[: len(zttp.heads)]:
        return False
    if len(zttp.heads) == len(expected.heads):
        return bool(expected.error)
    return any(found.applies(expected.heads[len(zttp.heads)]) for found in DISAGREEMENTS)
