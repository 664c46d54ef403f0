"""What dialing is told, apart from how it is done, which not every world needs."""

from __future__ import annotations

from dataclasses import dataclass

from ._config import HTTP2, Limits
from ._resolver import Names
from ._sessions import Sessions

__all__ = ["Dialing"]


@dataclass(frozen=True, slots=True)
class Dialing:
    """What dialing needs to know of the pool: frozen, the same for every route. The pool remembers by `names` and
    `sessions`."""

    http1_engine: str
    http2: HTTP2
    limits: Limits
    retries: int
    names: Names
    sessions: Sessions
