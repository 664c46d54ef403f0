"""Plays the pool around a `PoolState`: requests, dials that end when the test says so, a clock that stands still."""

from __future__ import annotations

from httpcore._config import Limits
from httpcore._errors import ConnectError, HTTPCoreError
from httpcore._pool_state import Entry, PoolState, Waiter
from httpcore._route import Route
from httpcore._urls import Origin

__all__ = ["Connection", "Driver", "Request", "route"]


def route(host: str, may_share: bool = False) -> Route:
    """A route whose connections are lent; with `may_share` the first dial tells whether they are shared."""
    if may_share:
        return Route(Origin("https", host, 443), alpn=("h2", "http/1.1"))
    return Route(Origin("http", host, 80))


class Connection:
    """Nothing but whether it was closed."""

    is_closed = False

    def close(self) -> None:
        assert not self.is_closed, "closed twice"
        self.is_closed = True


class Request:
    """One request, from the moment it wants a connection.

    Attributes:
        entry: the connection that it was given.
        opening: the dial that it has to do, or does.
        error: what it was turned away with.
        wakes: how often it was told to look.
    """

    def __init__(self) -> None:
        self.acquired: Entry[Connection] | None = None
        self.waiter: Waiter[Connection] | None = None
        self.wakes = 0

    @property
    def entry(self) -> Entry[Connection] | None:
        return self.acquired if self.waiter is None else self.waiter.entry

    @property
    def opening(self) -> Entry[Connection] | None:
        return None if self.waiter is None else self.waiter.opening

    @property
    def error(self) -> HTTPCoreError | None:
        return None if self.waiter is None else self.waiter.error

    @property
    def is_waiting(self) -> bool:
        return self.entry is None and self.error is None

    def wake(self) -> None:
        self.wakes += 1


class Driver:
    """A pool state and its world.

    Attributes:
        now: the time, in seconds.
        doomed: every entry that the state has given up and that was closed since.
    """

    def __init__(self, limits: Limits | None = None, dials_inline: bool = False) -> None:
        self.state: PoolState[Connection] = PoolState(Limits() if limits is None else limits, dials_inline)
        self.now = 0.0
        self.doomed: list[Entry[Connection]] = []

    def request(self, route: Route, needs_fresh: bool = False) -> Request:
        """Want a connection, and begin to dial where that is what it takes."""
        request = self.want(route, needs_fresh)
        self.begin(request)
        return request

    def want(self, route: Route, needs_fresh: bool = False) -> Request:
        request = Request()
        if not needs_fresh:
            request.acquired = self.state.acquire(route, self.now)
        if request.acquired is None:
            request.waiter = self.state.queue(route, request.wake, needs_fresh)
        self.close_doomed()
        return request

    def begin(self, request: Request) -> None:
        """Begin to dial, as a waiter does that wakes up and finds an `opening`."""
        if request.opening is not None:
            request.opening.is_dialed = True

    def open(self, dial: Request | Entry[Connection], capacity: int | None = None) -> Entry[Connection]:
        """Let a dial end well."""
        entry = self._dial(dial)
        connection = Connection()
        if not self.state.opened(entry, connection, capacity, self.now):
            connection.close()
        self.close_doomed()
        return entry

    def fail(self, dial: Request | Entry[Connection], error: HTTPCoreError | None = None) -> HTTPCoreError:
        """Let a dial fail."""
        error = ConnectError("refused") if error is None else error
        self.state.failed(self._dial(dial), error)
        self.close_doomed()
        return error

    def _dial(self, dial: Request | Entry[Connection]) -> Entry[Connection]:
        if isinstance(dial, Entry):
            return dial
        self.begin(dial)
        assert dial.opening is not None, "there is nothing for it to dial"
        return dial.opening

    def connect(self, route: Route, capacity: int | None = None) -> Request:
        """A request that is given a connection of its own, newly opened."""
        request = self.request(route)
        self.open(request, capacity)
        assert request.entry is not None
        return request

    def release(self, request: Request, is_reusable: bool = True, keepalive: float | None = None) -> None:
        assert request.entry is not None, "it holds nothing"
        self.state.released(request.entry, is_reusable, self.now, keepalive)
        self.close_doomed()

    def cancel(self, request: Request) -> None:
        assert request.waiter is not None, "it never waited"
        self.state.cancel(request.waiter, self.now)
        self.close_doomed()

    def close_doomed(self) -> None:
        while self.state.doomed:
            entry = self.state.doomed.pop()
            assert entry not in self.doomed, "doomed twice"
            self.doomed.append(entry)
            if entry.connection is not None:
                entry.connection.close()
