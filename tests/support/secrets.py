"""I9: no secret on a wrong socket, in a repr, in a log or in an exception. Shown by markers, in each form they take."""

from __future__ import annotations

import logging
import traceback
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import quote

import httpcore

from .peer import Conn
from .worlds import World

__all__ = ["ORIGIN", "PROXY", "Secrets", "watched"]


class Secrets:
    """Some words that only one side may see.

    Args:
        user, password: as they are; all other forms are made of them.
        headers: values of headers.
    """

    def __init__(self, user: str, password: str, *headers: str) -> None:
        self.auth = (user, password)
        pair = f"{user}:{password}".encode()
        words = [user, password, quote(user), quote(password, safe=""), b64encode(pair).decode(), *headers]
        self._forms = [form for word in words for form in (word, repr(word)[1:-1], repr(word.encode())[2:-1])]

    def seen_in(self, shown: str | bytes) -> list[str]:
        """The forms of them that can be found there."""
        text = shown.decode("utf-8", "backslashreplace") if isinstance(shown, bytes) else shown
        return [form for form in self._forms if form in text]

    def assert_unseen_by(self, *conns: Conn) -> None:
        """None of them is in any request that came on these connections."""
        for conn in conns:
            for request in conn.requests:
                assert not self.seen_in(request.raw_head + request.body), request

    def assert_unsaid(self, *things: object) -> None:
        """None of them is in what a program, or its log, would show of these."""
        for thing in things:
            assert not self.seen_in(_shown(thing)), thing


def _shown(thing: object) -> str:
    if isinstance(thing, (str, bytes, httpcore.URL)):
        return _words_of(thing)
    return "\n".join(_words_of(each) for each in _reachable(thing, set()))


def _words_of(thing: object) -> str:
    if isinstance(thing, BaseException):
        # As logging does, with the chain of causes and all notes.
        return "".join(traceback.format_exception(thing)) + repr(thing) + repr(thing.args)
    return repr(thing) + str(thing)


def _reachable(thing: object, met: set[int]) -> Iterator[object]:
    """It, the errors behind it, and all objects of ours that its public attributes lead to. Text or bytes, alone, in
    pairs or by name, are what an attribute is there for."""
    if id(thing) in met or isinstance(thing, (str, bytes, httpcore.URL)):
        return
    met.add(id(thing))
    if not isinstance(thing, (list, tuple, dict)) or isinstance(thing, httpcore.Headers):
        yield thing
    for each in _parts_of(thing):
        yield from _reachable(each, met)


def _parts_of(thing: object) -> Iterator[object]:
    if isinstance(thing, BaseException):
        yield from (thing.__cause__, thing.__context__)
    if isinstance(thing, dict):
        yield from thing.values()
    elif isinstance(thing, (list, tuple)) and not isinstance(thing, httpcore.Headers):
        yield from thing
    if type(thing).__module__.startswith("httpcore"):
        for name in dir(thing):
            if not name.startswith("_"):
                with suppress(httpcore.HTTPCoreError, AttributeError):  # a body that was not read; no errno
                    value = getattr(thing, name)
                    if not callable(value):
                        yield value


PROXY = Secrets("proxy-üser", "pr0xy:p@ss/wörd", "proxy-header-marker")
"""For proxies alone."""
ORIGIN = Secrets("origin-user", "origin-password", "origin-cookie-marker")
"""For origins, and for proxies that forward."""


class _Log(logging.Handler):
    """All that is logged, as it would be shown."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@contextmanager
def watched(
    world: World, *secrets: Secrets, **options: object
) -> Iterator[tuple[httpcore.ConnectionPool, list[object]]]:
    """A pool, with a list for what else is seen of it.

    At the end it is asked about itself. All that it says, traced and logged, and all that is in the list, must be free
    of the secrets.
    """
    log, events, seen = _Log(), list[httpcore.TraceEvent](), list[object]()
    root, level = logging.getLogger(), logging.getLogger().level
    root.addHandler(log)
    root.setLevel(logging.DEBUG)
    try:
        http = world.pool(trace=events.append, **options)
        yield http, seen
        for each in secrets:
            each.assert_unsaid(http, http.stats(), *http.connections, *events, *log.lines, *seen)
    finally:
        root.setLevel(level)
        root.removeHandler(log)
