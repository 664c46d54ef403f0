"""What goes between the measuring process and a client's, one JSON object a line. Bytes are written as latin-1."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

TIMEOUT = 4.0
"""Seconds that a client is given for a request."""

LONG_TIMEOUT = 15.0
"""Where there is much to be read before anything can be known."""


@dataclass(frozen=True)
class Setup:
    """What a client is opened with.

    Args:
        is_http2: HTTP/2 with prior knowledge, or HTTP/1.1.
        ca: the file with the certificate that TLS is verified against.
        proxy: the URL of a proxy that everything goes through.
        timeout: seconds for a request, in total or, where a client has no such timeout, for each read.
        decodes: whether content codings are to be undone, where a client does that only when it is told.
    """

    is_http2: bool = False
    ca: str | None = None
    proxy: str | None = None
    timeout: float = TIMEOUT
    decodes: bool = False


@dataclass(frozen=True)
class Ask:
    """A request."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None


@dataclass(frozen=True)
class Reply:
    """A response with its whole body, as the client handed it out."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


@dataclass(frozen=True)
class Failure:
    """What the client raised.

    Args:
        kind: the name of the class.
        is_own: whether it is one that the client documents.
        text: what it says.
    """

    kind: str
    is_own: bool
    text: str


def line(**fields: object) -> bytes:
    return json.dumps(fields).encode() + b"\n"


def setup_fields(setup: Setup) -> dict[str, object]:
    return asdict(setup)


def ask_fields(ask: Ask) -> dict[str, object]:
    return asdict(ask) | {"body": None if ask.body is None else ask.body.decode("latin-1")}


def parse_ask(method: str, url: str, headers: list[list[str]], body: str | None) -> Ask:
    pairs = tuple((name, value) for name, value in headers)
    return Ask(method, url, pairs, None if body is None else body.encode("latin-1"))


def reply_fields(reply: Reply) -> dict[str, object]:
    return asdict(reply) | {"body": reply.body.decode("latin-1")}


def parse_reply(status: int, headers: list[list[str]], body: str) -> Reply:
    return Reply(status, tuple((name, value) for name, value in headers), body.encode("latin-1"))
