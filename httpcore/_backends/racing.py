"""Happy Eyeballs: attempts at several addresses, begun one after another, of which the first that succeeds is kept.

One copy for all worlds: sockets do not block, and the only thing that a world adds is how it waits for them.

Source: RFC 8305, 5; its authors recommend the 250 ms before the next attempt, and ask for 10 ms at the least.
"""

from __future__ import annotations

import math
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from .._errors import ConnectError, ConnectTimeout, HTTPCoreError
from .._streams import Address
from .sockets import connect_error, finish_connect, new_socket, start_connect

__all__ = ["one_error", "race"]

_ATTEMPT_DELAY = 0.25
_LEAST_DELAY = 0.01
# Descriptors that one dial may hold at once. When there are more addresses than these, the oldest attempt, which has
# had two seconds as a rule, gives way.
_MAX_RUNNING = 8

WaitForOne = Callable[[Sequence[socket.socket], float], Awaitable[socket.socket | None]]
"""Waits until one of the sockets is writable or broken, and returns it; None when the deadline passed first."""


async def race(
    addresses: Sequence[Address], deadline: float, now: Callable[[], float], wait: WaitForOne
) -> tuple[socket.socket, Address]:
    """The socket that is connected first, with its address; all others are closed.

    Raises: ConnectError, ConnectTimeout, with what became of each address.
    Cancellation: all are closed.
    """
    runners = _Runners(addresses, deadline, now)
    winner: socket.socket | None = None
    try:
        while winner is None:
            winner = runners.start_next()
            if winner is None and (writable := await wait(list(runners.running), runners.until())) is not None:
                winner = runners.finish(writable)
        runners.end(winner)
        return winner, runners.running[winner]
    except BaseException:  # Ctrl-C too, even when somebody has won
        runners.end(None)
        raise


class _Runners:
    """The attempts of one race. Nothing here waits."""

    __slots__ = ("_count", "_deadline", "_left", "_next_at", "_now", "errors", "running")

    def __init__(self, addresses: Sequence[Address], deadline: float, now: Callable[[], float]) -> None:
        self._left = deque(addresses)
        self._count = len(addresses)
        self._deadline = deadline
        self._now = now
        self._next_at = -math.inf
        self.running: dict[socket.socket, Address] = {}
        self.errors: list[HTTPCoreError] = []

    def start_next(self) -> socket.socket | None:
        """Begin those attempts whose time has come; the socket that is connected at once, if one is.

        Raises: ConnectError, ConnectTimeout, when there is nothing more to be tried, or no more time.
        """
        while self._left and self._now() >= self._next_at:
            connected = self._start(self._left.popleft())
            if connected is not None:
                return connected
        if not self.running:
            raise self._sum(ConnectError, "could be connected to")
        if self._now() >= self._deadline:
            while self.running:
                self._give_up()
            raise self._sum(ConnectTimeout, "answered in time")
        return None

    def until(self) -> float:
        """When to look again, whatever happens."""
        return min(self._deadline, self._next_at) if self._left else self._deadline

    def finish(self, sock: socket.socket) -> socket.socket | None:
        """The socket, if it is connected; an attempt that failed makes room for the next at once."""
        try:
            finish_connect(sock)
        except OSError as exc:
            self._fail(sock, exc)
            return None
        return sock

    def end(self, winner: socket.socket | None) -> None:
        """Close the sockets of all others."""
        for sock in self.running:
            if sock is not winner:
                sock.close()
        self.errors.clear()  # their tracebacks hold frames that hold us, which would make a cycle

    def _start(self, address: Address) -> socket.socket | None:
        if len(self.running) >= _MAX_RUNNING:
            self._give_up()
        try:
            sock = new_socket(address)
        except ConnectError as exc:
            self.errors.append(exc)
            return None
        self.running[sock] = address
        try:
            if start_connect(sock, address):
                return sock
        except OSError as exc:
            self._fail(sock, exc)
            return None
        now = self._now()
        fair_share = (self._deadline - now) / (1 + len(self._left))  # so that the last address has its turn
        self._next_at = now + max(_LEAST_DELAY, min(_ATTEMPT_DELAY, fair_share))
        return None

    def _fail(self, sock: socket.socket, exc: OSError) -> None:
        error = connect_error(self._drop(sock), exc)
        error.__cause__ = exc
        self.errors.append(error)
        self._next_at = -math.inf

    def _give_up(self) -> None:
        """Close the oldest attempt that runs."""
        address = self._drop(next(iter(self.running)))
        self.errors.append(ConnectTimeout(f"no connection to {address.peer} in time"))

    def _drop(self, sock: socket.socket) -> Address:
        sock.close()
        return self.running.pop(sock)

    def _sum(self, kind: type[ConnectError | ConnectTimeout], what: str) -> HTTPCoreError:
        return one_error(kind, self._count, what, self.errors)


def one_error(
    kind: type[ConnectError | ConnectTimeout], count: int, what: str, errors: Sequence[HTTPCoreError]
) -> HTTPCoreError:
    """One error for those of all attempts, at `count` addresses."""
    last = errors[-1]
    if count == 1:
        return last
    total = kind(f"none of {count} addresses {what}: {'; '.join(map(str, errors))}")
    total.__cause__ = last
    return total
