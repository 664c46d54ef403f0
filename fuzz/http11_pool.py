"""The bytes of an HTTP/1.1 response, to a whole pool: every engine makes the same of it, and it stays good."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import NamedTuple

import httpcore
from httpcore._engines import is_installed
from tests.support.engine_outcomes import asking, may_disagree, new_engine, outcome_of
from tests.support.http11_rows import BAD, GOOD

from .cutting import pieces
from .memory_pool import Ending, Job, play, serve_later

__all__ = ["check", "seeds"]

_ENGINES = [name for name in ("h11", "httptools", "zttp") if is_installed(name)]
_URL = "http://example.org/"


async def _read(http: httpcore.ConnectionPool) -> object:
    response = await http.request("GET", _URL, {"accept-encoding": "identity"})
    return response.status_code, tuple(response.headers), response.body


async def _read_decoded(http: httpcore.ConnectionPool) -> object:
    response = await http.request("GET", _URL)
    return response.status_code, response.body


async def _stream(http: httpcore.ConnectionPool) -> object:
    async with await http.request("GET", _URL, stream=True) as response:
        return response.status_code, b"".join([part async for part in response.raw()])


async def _close_early(http: httpcore.ConnectionPool) -> object:
    async with await http.request("GET", _URL, stream=True) as response:
        return response.status_code


async def _ask_for_the_head(http: httpcore.ConnectionPool) -> object:
    return tuple((await http.request("HEAD", _URL)).headers)


async def _upload(http: httpcore.ConnectionPool) -> object:
    async def parts() -> AsyncIterator[bytes]:
        for part in (b"some", b"parts", b"of a body"):
            yield part

    return (await http.request("POST", _URL, body=parts())).body


async def _wait_for_100(http: httpcore.ConnectionPool) -> object:
    return (await http.request("PUT", _URL, {"expect": "100-continue"}, b"body")).body


async def _upgrade(http: httpcore.ConnectionPool) -> object:
    headers = {"connection": "upgrade", "upgrade": "x"}
    async with await http.request("GET", _URL, headers, stream=True) as response:
        return response.status_code


class _Kind(NamedTuple):
    """A job, and what an engine is told of its request."""

    job: Job
    method: bytes = b"GET"
    may_upgrade: bool = False


_KINDS = (
    _Kind(_read),
    _Kind(_read_decoded),
    _Kind(_stream),
    _Kind(_close_early),
    _Kind(_ask_for_the_head, b"HEAD"),
    _Kind(_upload, b"POST"),
    _Kind(_wait_for_100, b"PUT"),
    _Kind(_upgrade, may_upgrade=True),
)


def seeds() -> Iterator[bytes]:
    for number, row in enumerate((*GOOD, *BAD)):
        if not row.is_large:
            yield bytes([number % len(_KINDS), number % 256]) + row.wire


def check(data: bytes) -> None:
    if len(data) < 2:
        return
    kind, ending, said = _KINDS[data[0] % 8], Ending((data[0] >> 3) % 3), pieces(data[2:], data[1])
    expected, *others = [play(kind.job, said, ending, serve_later, http1_engine=engine) for engine in _ENGINES]
    for engine, outcome in zip(_ENGINES[1:], others, strict=True):
        has_reason = engine == "zttp" and outcome is httpcore.RemoteProtocolError and _may_refuse(kind, said)
        assert outcome == expected or has_reason, (engine, outcome, expected)


def _may_refuse(kind: _Kind, said: list[bytes]) -> bool:
    """Whether the list of what zttp may do otherwise has this response."""
    request = asking(kind.method, kind.may_upgrade)
    expected, found = (outcome_of(new_engine(engine), request, said) for engine in ("h11", "zttp"))
    return may_disagree(expected, found)
