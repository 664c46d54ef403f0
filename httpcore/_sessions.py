"""TLS sessions that later connections resume: for whom they are kept, how many, and for how long.

A session stands for a peer that was verified, so whoever resumes one does not verify again. It is therefore given only
to a connection that would have verified the same name in the same way, over the same route; and a pool keeps its own,
which end with it. Early data, which can be replayed by anybody, is never sent.

Source: RFC 8446, 2.2, 4.6.1 and C.4; RFC 5077.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl

__all__ = ["Sessions"]

# As many as Go's ClientSessionCache keeps. One has a few KB, most of which is the peer's certificate.
_MAX_SESSIONS = 64
# One is worth as much work as the verification that it saves; a hundred of the same peer, whose connections all expire
# at once, are not.
_MAX_ALIKE = 4


class Sessions:
    """The sessions of one pool, used by any of its threads.

    Args:
        now: the time of day in seconds, which is what OpenSSL notes.
    """

    __slots__ = ("_is_closed", "_kept", "_lock", "_now")

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._kept: deque[tuple[Hashable, ssl.SSLSession]] = deque(maxlen=_MAX_SESSIONS)
        self._is_closed = False

    def keep(self, key: Hashable, tls: ssl.SSLObject) -> None:
        """Keep the session of a connection that comes to a good end, which has the newest of its tickets. The oldest
        of all makes room for it."""
        with self._lock:
            if self._is_closed or sum(kept == key for kept, _ in self._kept) >= _MAX_ALIKE:
                return
        session = tls.session
        if session is not None and _is_usable(session, self._now()):
            with self._lock:
                self._kept.append((key, session))

    def take(self, key: Hashable) -> ssl.SSLSession | None:
        """The newest session that was kept by an equal key. It is given once: a ticket that is used again tells those
        who listen that both connections are of the same client (RFC 8446, C.4)."""
        with self._lock:
            for index in range(len(self._kept) - 1, -1, -1):
                kept, session = self._kept[index]
                if kept == key:
                    del self._kept[index]
                    if _is_usable(session, self._now()):
                        return session
        return None

    def close(self) -> None:
        """Forget all sessions, and keep no more."""
        with self._lock:
            self._is_closed = True
            self._kept.clear()

    def after_fork(self) -> None:
        """Start empty in a forked child, which must not use the tickets of its parent, nor wait for its lock."""
        self._lock = threading.Lock()
        self._kept = deque(maxlen=_MAX_SESSIONS)


def _is_usable(session: ssl.SSLSession, now: float) -> bool:
    """Whether the peer may still know it: within its own hint, and OpenSSL's two hours."""
    if not (session.has_ticket or session.id):
        return False
    lifetime = min(session.timeout, session.ticket_lifetime_hint or session.timeout)
    return 0 <= now - session.time < lifetime
