"""Name -> addresses: who is asked, how often, and what is remembered of it.

The system is asked in threads of ours, once for all who want the same name at the same time, whichever pool they are
of. So is a resolver of the caller's, once for each pool: the first who comes asks, the others wait for its answer, and
where it leaves without one, the next of them asks.
"""

from __future__ import annotations

import errno
import inspect
import socket
from collections.abc import Sequence
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from itertools import chain, zip_longest
from typing import cast

from ._backends.threads import Flight
from ._clock import EARLY
from ._errors import ConnectError, ConnectTimeout
from ._network import Network, Resolver
from ._streams import Backend

__all__ = ["Found", "Names", "literal"]

Found = tuple[int, tuple[str, int] | tuple[str, int, int, int]]
"""Family and address, as `socket.connect` takes it."""

# A name that does not exist is asked for again no sooner than this many seconds later: enough to hold up a loop, too
# little to keep anybody who has just made it from using it. The JDK has ten, Chromium none.
_NO_SUCH_NAME_SECONDS = 1.0
_NO_SUCH_NAME = {getattr(socket, name) for name in ("EAI_NONAME", "EAI_NODATA") if hasattr(socket, name)}
# RFC 6555, 4.2: what was learnt of the families is to be forgotten now and then, "on the order of 10 minutes".
_FAMILY_SECONDS = 600.0
# Past this many names the memory starts anew.
_MAX_NAMES = 1024

_Key = tuple[Resolver | None, str, int]


@dataclass(frozen=True, slots=True)
class _Answer:
    """Args: found: the addresses; None where the name does not exist, in the system's words for it."""

    at: float
    found: Sequence[Found] | None
    reason: str = ""


class Names:
    """What one pool knows of names. Moments are those of its backend; each step is one operation of a dict."""

    __slots__ = ("_answers", "_asking", "_families")

    def __init__(self) -> None:
        self._answers: dict[_Key, _Answer] = {}
        self._asking: dict[_Key, Flight[list[Found] | None]] = {}
        self._families: dict[str, tuple[int, float]] = {}

    def forget(self) -> None:
        """The pool goes to another event loop, with another clock, or to another process."""
        self._answers, self._asking, self._families = {}, {}, {}

    async def find(self, host: str, port: int, network: Network, backend: Backend, deadline: float) -> Sequence[Found]:
        """The addresses of a name, the best first.

        Raises: ConnectError, ConnectTimeout.
        Cancellation: whoever else asks for the name goes on.
        """
        key = (network.resolver, host, port)
        try:
            known = self._known(key, network.dns_cache_ttl, backend.now())
            if known is not None:
                return known
            if network.resolver is None:
                found = await backend.resolve(host, port, deadline)
            else:
                found = await self._ask_once(network.resolver, host, port, backend, deadline)
        except TimeoutError as exc:
            raise ConnectTimeout(f"the name {host} was not resolved in time") from exc
        except (OSError, UnicodeError) as exc:
            if isinstance(exc, socket.gaierror) and exc.errno in _NO_SUCH_NAME:
                self._remember(key, _Answer(backend.now(), None, str(exc.strerror)))
            raise ConnectError(f"the name {host} does not resolve: {getattr(exc, 'strerror', None) or exc}") from exc
        if found:
            self._remember(key, _Answer(backend.now(), found))
        return found

    def drop(self, host: str, port: int, network: Network) -> None:
        """Forget the addresses of a name: nobody answers there."""
        self._answers.pop((network.resolver, host, port), None)

    def _known(self, key: _Key, ttl: float, now: float) -> Sequence[Found] | None:
        answer = self._answers.get(key)
        if answer is None or now - answer.at >= ttl:
            return None
        if answer.found is None:
            if now - answer.at >= _NO_SUCH_NAME_SECONDS:
                return None
            raise OSError(errno.ENOENT, answer.reason)
        return answer.found

    def _remember(self, key: _Key, answer: _Answer) -> None:
        if len(self._answers) >= _MAX_NAMES:
            self._answers.clear()
        self._answers[key] = answer

    async def _ask_once(
        self, resolver: Resolver, host: str, port: int, backend: Backend, deadline: float
    ) -> list[Found]:
        key = (resolver, host, port)
        while True:
            mine: Flight[list[Found] | None] = Flight()
            flight = mine
            try:
                flight = self._asking.setdefault(key, mine)
                if flight is mine:
                    found = await self._ask(resolver, host, port, backend, deadline)
                    mine.succeed(found)
                    return found
                shared = await flight.board(backend).wait(deadline)
                if shared is not None:
                    return shared
            except Exception as exc:
                if not (isinstance(exc, TimeoutError) and backend.now() >= deadline - EARLY):
                    mine.fail(exc)  # otherwise the time was ours, and those who wait may have more of it
                raise
            finally:
                if self._asking.get(key) is mine:
                    del self._asking[key]
                if not mine.is_over:
                    mine.succeed(None)  # the next one asks
                del mine, flight  # they hold the error, whose traceback holds this frame

    async def _ask(self, resolver: Resolver, host: str, port: int, backend: Backend, deadline: float) -> list[Found]:
        if any(map(inspect.iscoroutinefunction, (resolver, type(resolver).__call__))):
            answer = resolver(host, port)
        else:
            call = partial(copy_context().run, resolver, host, port)
            answer = await backend.to_thread(call, deadline, (self, resolver, host, port))
        ips = await backend.until(answer, deadline) if inspect.isawaitable(answer) else answer
        return [found for ip in ips if (found := literal(ip, port)) is not None]

    # Families.

    def interleave(self, host: str, found: Sequence[Found], now: float) -> list[Found]:
        """Addresses of one family after those of the other, by turns; first the family that answered last time.

        Source: RFC 8305, 4.
        """
        if len(found) == 1:
            return list(found)
        by_family: dict[int, list[Found]] = {}
        last, at = self._families.get(host, (0, 0.0))
        if last and now - at < _FAMILY_SECONDS and any(family == last for family, _ in found):
            by_family[last] = []
        for item in dict.fromkeys(found):
            by_family.setdefault(item[0], []).append(item)
        return [item for item in chain.from_iterable(zip_longest(*by_family.values())) if item is not None]

    def note_family(self, host: str, family: int, now: float) -> None:
        """What has answered, of a host that has addresses of several families."""
        last, at = self._families.get(host, (0, 0.0))
        if last == family and now - at < _FAMILY_SECONDS:
            return  # since when it is known does not move, so that the others get their turn again
        if len(self._families) >= _MAX_NAMES:
            self._families.clear()
        self._families[host] = (family, now)


def literal(host: str, port: int) -> Found | None:
    """Family and address of a host that is an address already.

    Raises: OSError where it looks like one of IPv6 and is none, or is of a zone that is not there.
    """
    if ":" in host:
        try:
            found = socket.getaddrinfo(host, port, socket.AF_INET6, socket.SOCK_STREAM, 0, socket.AI_NUMERICHOST)
        except socket.gaierror as exc:  # which would be that of a name
            raise OSError(errno.EINVAL, f"{host!r} is not an address: {exc.strerror}") from exc
        return socket.AF_INET6, cast("tuple[str, int, int, int]", found[0][4])
    try:
        socket.inet_pton(socket.AF_INET, host)
    except OSError:
        return None
    return socket.AF_INET, (host, port)
