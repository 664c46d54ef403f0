"""Keeps the connections of one pool: carries out what `_pool_state` decides.

A request comes by twice: `acquire` gives it a connection, which may have to be dialed, and `release` takes that back.
All changes of state are plain functions under one lock that is never held across I/O; closing never waits. So wherever
a request is cancelled, one `except BaseException` gives back what it held.
"""

from __future__ import annotations

import math
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import ParamSpec, TypeVar

from ._backends import make_backend
from ._carrier import Carrier, Connection
from ._clock import Clock
from ._errors import ConnectError, ConnectTimeout, HTTPCoreError, PoolTimeout, TimeoutException, TotalTimeout
from ._exchange import Exchange, PoolEntry
from ._options import PoolOptions
from ._pool_state import Life, PoolState, Waiter
from ._route import Route
from ._stats import ConnectionStats, PoolStats, describe_connections, describe_origins
from ._streams import Backend, Event, Timer
from ._trace import Connected, ConnectFailed, Connecting, ConnectionClosed, report

__all__ = ["Keeper"]

P = ParamSpec("P")
T = TypeVar("T")

# Idle connections are looked through no more often than this, so that the work does not grow with the requests.
_SWEEP_SECONDS = 0.5
# Where no event loop can be told of a forgotten response, a waiter looks for itself this often.
_FORGOTTEN_SECONDS = 0.05


class Keeper:
    """The connections of one pool, those who wait for them, and the event loop that they belong to.

    Attributes:
        backend: of that event loop; None before the first request, and between two loops.
    """

    def __init__(self, options: PoolOptions) -> None:
        self._options = options
        self._trace = options.trace
        self._lock = threading.Lock()
        self._state = self._new_state()
        self.backend: Backend | None = None
        self._forgotten: deque[tuple[PoolEntry, Carrier, OnEnd | None]] = deque()
        self._timer: Timer | None = None
        self._timer_at = math.inf
        self._farewell: Timer | None = None
        self._sweep_at = -math.inf
        self._draining: list[Event] = []
        _keepers.add(self)

    def _new_state(self) -> State:
        return PoolState(self._options.limits)

    # Getting a connection.

    async def acquire(self, route: Route, clock: Clock, backend: Backend, needs_fresh: bool) -> PoolEntry:
        """A connection, reserved for the caller, who gives it back by `release`.

        Cancellation: nothing stays reserved, and what had been given goes on to the next.
        """
        clock.phase = "waiting for a connection"
        if clock.total != math.inf and clock.is_over:
            raise TotalTimeout(f"the total timeout of {clock.timeout.total:g} s passed before anything was sent")
        while True:
            now = backend.now()
            if self._forgotten or now >= self._sweep_at:
                self._sweep()
            state = self._state
            entry: PoolEntry | None = None
            waiter: PoolWaiter | None = None
            try:
                with self._lock:
                    state = self._state
                    try:
                        entry = None if needs_fresh else state.acquire(route, now)
                        if entry is None:
                            wakeup = Wakeup(backend.event())
                            waiter = state.queue(route, wakeup, needs_fresh)
                    except BaseException as exc:
                        self._mend(exc)
                        raise
                if state.doomed:
                    self._close_doomed()
                if waiter is not None:
                    entry = await self._wait(waiter, wakeup, clock, backend, state)
                is_new = waiter is not None and entry is not None and entry.requests == 1
                if entry is not None and (is_new or self.is_alive(entry)):
                    return entry
            except BaseException:
                self._give_up(entry, waiter, state, backend)
                raise

    def is_alive(self, entry: PoolEntry) -> bool:
        """Whether the peer has not ended, nor spoken on, a connection that was idle; otherwise it is released."""
        assert entry.connection is not None
        if not entry.connection.is_stale():
            return True
        with self._lock:
            entry.record.reused -= 1 if entry.requests > 1 else 0
            self._state.closed(entry)
        self.release(entry, False)
        return False

    def _give_up(self, entry: PoolEntry | None, waiter: PoolWaiter | None, state: State, backend: Backend) -> None:
        """A request ends before it has used its connection, which goes on to the next, if there was one already."""
        if waiter is None:
            if entry is not None:
                self.release(entry, False)
        elif state is self._state:
            self._change(state.cancel, waiter, backend.now())
            self._close_doomed()

    async def _wait(
        self, waiter: PoolWaiter, wakeup: Wakeup, clock: Clock, backend: Backend, state: State
    ) -> PoolEntry | None:
        """Wait until the pool state gives `waiter` a connection, dialing where it is told to.

        Returns: None where the pool has another state by now, and the caller has to look anew.
        """
        began = backend.now()
        pool_deadline = until = clock.deadline(clock.timeout.pool)
        begun: PoolEntry | None = None
        adopted: PoolEntry | None = None
        while True:
            with self._lock:
                entry, error, opening = waiter.entry, waiter.error, waiter.opening
                must_dial = opening is not None and entry is None and not opening.is_dialed
                if opening is not None and must_dial:
                    opening.is_dialed = True
                wakeup.event = backend.event()
            if state is not self._state:
                return None
            if entry is not None:
                return entry
            if error is not None:
                try:
                    raise error
                finally:
                    waiter.error = error = None  # or its traceback would make a cycle
            if opening is not None and must_dial:
                begun = opening
                await self._begin_dial(opening, clock, backend)
                continue
            if opening is None:
                until = pool_deadline
            elif opening is begun:
                until = clock.total  # the dial has a deadline of its own
            elif opening is not adopted:  # it has, but by the clock of another request
                adopted, until = opening, clock.deadline(clock.timeout.connect)
            if not await self._wait_once(wakeup, until, backend) and waiter.is_waiting:
                raise self._waited_in_vain(waiter, clock, backend.now() - began)

    async def _wait_once(self, wakeup: Wakeup, deadline: float, backend: Backend) -> bool:
        """False when the deadline has passed."""
        if backend.has_loop:
            return await wakeup.event.wait(deadline)
        if await wakeup.event.wait(min(deadline, backend.now() + _FORGOTTEN_SECONDS)):
            return True
        self._sweep()
        return backend.now() < deadline

    def _waited_in_vain(self, waiter: PoolWaiter, clock: Clock, seconds: float) -> TimeoutException:
        record, opening = waiter.record, waiter.opening
        if opening is not None and opening.is_dialed:
            clock.phase = opening.phase()
        if clock.is_over:
            return TotalTimeout(f"the total timeout of {clock.timeout.total:g} s passed")
        if opening is not None:
            return ConnectTimeout(f"no connection to {record.route.origin} was made within {seconds:.3f} s")
        with self._lock:
            largest = sorted(self._state.records(), key=lambda other: -other.total)[:5]
        holders = ", ".join(
            f"{other.route.origin}: {other.active} active, {len(other.idle)} idle, {other.opening} opening"
            for other in largest
            if other.total
        )
        return PoolTimeout(
            f"no connection to {record.route.origin} became free within {seconds:.3f} s; "
            f"{record.waiting} wait for it, and of at most {self._options.limits.max_connections} connections "
            f"the pool holds: {holders}"
        )

    async def _begin_dial(self, opening: PoolEntry, clock: Clock, backend: Backend) -> None:
        """Dial beside the request where the world can, so that it may take another connection that comes first."""
        dial_clock = clock.fork()
        opening.phase = lambda: dial_clock.phase
        dial = self._dial(opening, dial_clock, backend)
        if backend.can_spawn:
            opening.cancel_dial = backend.spawn(dial).cancel
        else:
            await dial

    async def _dial(self, opening: PoolEntry, clock: Clock, backend: Backend) -> None:
        """Open a connection and tell the pool state how it went. Raises only what is not an `Exception`."""
        route = opening.record.route
        origin = str(route.origin)
        if self._trace is not None:
            report(self._trace, Connecting(backend.now(), origin))
        began = backend.now()
        try:
            connection = await self._connect(route, backend, clock)
        except BaseException as exc:
            self._dial_failed(opening, exc, clock, backend)
            if not isinstance(exc, Exception):
                raise
            return
        connection.watch(partial(self._note_change, opening))
        now = backend.now()
        is_wanted = self._change(self._state.opened, opening, connection, connection.capacity, now)
        if not is_wanted:
            connection.close()
        self._close_doomed()
        if opening.life is Life.IDLE and backend.has_timers:
            self._arm_timer(opening.expires_at, now, backend)
        if self._trace is not None:
            report(self._trace, Connected(now, origin, now - began))

    async def _connect(self, route: Route, backend: Backend, clock: Clock) -> Connection:
        if backend.has_sockets:
            from ._connect import connect

            assert self._options.dialing is not None
            return await connect(route, self._options.dialing, backend, clock)
        from ._fetch import connect_fetch

        return await connect_fetch(route, backend)

    def _dial_failed(self, opening: PoolEntry, exc: BaseException, clock: Clock, backend: Backend) -> None:
        """In a frame of its own, which is not in the traceback of the error, so that the two make no cycle."""
        route = opening.record.route
        error = _dial_error(exc, clock, route.peer)
        self._change(self._state.failed, opening, error)
        self._close_doomed()
        if self._trace is not None:
            report(self._trace, ConnectFailed(backend.now(), str(route.origin), error))

    # Giving it back.

    def release(self, entry: PoolEntry, is_reusable: bool, exchange: Exchange | None = None) -> None:
        """Take a connection back, from its exchange. Neither waits nor fails."""
        connection, backend = entry.connection, self.backend
        if backend is None or connection is None:  # the pool was forked, or its event loop has ended, meanwhile
            if exchange is not None:
                exchange.entry = None
            return
        now = backend.now()
        with self._lock:
            try:
                if exchange is not None:  # not before: Ctrl-C may come at any time, and then it is to be found there
                    exchange.entry = None
                self._state.released(entry, is_reusable, now, connection.keepalive if is_reusable else None)
            except BaseException as exc:
                self._mend(exc)
                raise
        if self._state.doomed:
            self._close_doomed()
        if entry.expires_at < self._timer_at and backend.has_timers and entry.life is Life.IDLE:
            self._arm_timer(entry.expires_at, now, backend)

    def note_resent(self, entry: PoolEntry) -> None:
        """A request that this connection failed is sent again."""
        with self._lock:
            entry.record.retried += 1

    def forget(self, entry: PoolEntry, carrier: Carrier, on_end: OnEnd | None) -> None:
        """Take a connection back from a finaliser, which may run anywhere, even where our lock is held."""
        self._forgotten.append((entry, carrier, on_end))
        backend = self.backend
        if backend is not None:
            backend.call_soon_threadsafe(self._sweep)

    def end_stream(self, entry: PoolEntry, carrier: Carrier, on_end: OnEnd | None, is_finaliser: bool) -> None:
        if is_finaliser:
            self.forget(entry, carrier, on_end)
        else:
            self._end(entry, carrier, on_end, True)

    def _end(self, entry: PoolEntry, carrier: Carrier, on_end: OnEnd | None, is_complete: bool) -> None:
        try:
            if on_end is not None:
                on_end(is_complete)
        finally:
            carrier.close()
            self.release(entry, carrier.is_reusable)

    def _note_change(self, entry: PoolEntry) -> None:
        """A connection has ended while idle, takes no more requests, or another number of them at once."""
        connection = entry.connection
        if connection is None:
            return
        if entry.life is Life.IDLE and connection.is_stale():
            self._change(self._state.closed, entry)
        elif connection.is_closed:
            self._change(self._state.broken, entry)
        elif connection.is_retiring:
            self._change(self._state.retire, entry)
        elif connection.capacity is not None and connection.capacity != entry.capacity:
            self._change(self._state.resized, entry, connection.capacity)
        self._close_doomed()

    def _sweep(self) -> None:
        """Take back what was forgotten, and close what has been idle too long."""
        while self._forgotten:
            try:
                entry, carrier, on_end = self._forgotten.popleft()
            except IndexError:  # another thread took it
                break
            self._end(entry, carrier, on_end, False)
        backend = self.backend
        if backend is not None and (now := backend.now()) >= self._sweep_at:
            self._sweep_at = now + _SWEEP_SECONDS
            self._change(self._state.expire, now)
            self._close_doomed()

    def _arm_timer(self, soonest: float, now: float, backend: Backend) -> None:
        """Where the world has timers, close idle connections when their time has come, without further requests."""
        when = max(soonest, now + _SWEEP_SECONDS)
        if when < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = when
            self._timer = backend.call_at(when, self._on_timer)

    def _on_timer(self) -> None:
        self._timer, self._timer_at = None, math.inf
        self._sweep_at = -math.inf
        self._sweep()
        backend = self.backend
        with self._lock:
            soonest = self._state.soonest_expiry()
        if backend is not None and soonest is not None:
            self._arm_timer(soonest, backend.now(), backend)

    def _close_doomed(self) -> None:
        """Close what the pool state has given up. Outside of the lock; whoever comes first does it."""
        doomed = self._state.doomed
        while doomed:
            try:
                entry = doomed.pop()
            except IndexError:  # another thread took it
                break
            if entry.connection is not None:
                entry.connection.close()
            elif entry.cancel_dial is not None:
                cancel, entry.cancel_dial = entry.cancel_dial, None  # or the error that it leaves would make a cycle
                cancel()
            if self._trace is not None and self.backend is not None:
                origin, reason = str(entry.record.route.origin), entry.close_reason.value
                report(self._trace, ConnectionClosed(self.backend.now(), origin, reason))
        if self._draining and not self._state.total:
            for drained in self._draining:
                drained.set()

    # A state that was left in the middle of a change.

    def _change(self, change: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        with self._lock:
            try:
                return change(*args, **kwargs)
            except BaseException as exc:
                self._mend(exc)
                raise

    def _mend(self, exc: BaseException) -> None:
        """Ctrl-C may have come in the middle of a change: then the state is of no use any more, and a new one takes its
        place. Whoever runs keeps the connection to the end, and whoever waits looks anew. With the lock held."""
        if isinstance(exc, HTTPCoreError):
            return
        old = self._replace_state()
        for entry in old.entries():
            if entry.life is Life.IDLE and entry.connection is not None:
                entry.connection.close()
            entry.life = Life.CLOSED  # for whoever still holds it, and will give it back
        for record in old.records():
            for waiter in [*record.queue.waiters, *record.fresh_queue.waiters]:
                waiter.wake()

    def _replace_state(self) -> State:
        old, self._state = self._state, self._new_state()
        self._state.is_closed, self._state.dials_inline = old.is_closed, old.dials_inline
        return old

    # All of them.

    def close(self) -> None:
        """Close everything, and refuse what comes."""
        self._cancel_timers()
        if self._options.dialing is not None:
            self._options.dialing.sessions.close()
        self._change(self._state.close)
        self._close_doomed()

    def _cancel_timers(self) -> None:
        for timer in (self._timer, self._farewell):
            if timer is not None:
                timer.cancel()
        self._timer = self._farewell = None
        self._timer_at = math.inf

    async def drain(self, backend: Backend, deadline: float) -> bool:
        """Refuse what comes, and wait for what runs.

        Returns: whether everything came to its end in time.
        """
        drained = backend.event()
        self._draining.append(drained)
        self._change(self._state.drain)
        self._close_doomed()
        while (is_left := self._state.total > 0) and backend.now() < deadline:
            until = deadline if backend.has_loop else min(deadline, backend.now() + _FORGOTTEN_SECONDS)
            await drained.wait(until)
            self._sweep()
        return not is_left

    def close_idle(self) -> None:
        self._change(self._state.close_idle)
        self._close_doomed()

    @property
    def is_closed(self) -> bool:
        return self._state.is_closed

    def connections(self) -> list[ConnectionStats]:
        with self._lock:
            return describe_connections(self._state)

    def stats(self) -> PoolStats:
        with self._lock:
            return describe_origins(self._state)

    # Where we are.

    def enter_world(self) -> Backend:
        """Find the event loop that runs now. Connections of one that has ended are dropped without a word.

        Raises: RuntimeError where another event loop, that still runs, uses this pool.
        """
        backend = self.backend
        if backend is not None:
            if not backend.is_over():
                raise RuntimeError(
                    "this pool is in use by another event loop, which is still running: make one pool for each loop"
                )
            self._start_empty(_abandon)
        self.backend = backend = make_backend(self._options.backend)
        self._state.dials_inline = not backend.can_spawn
        self._farewell = backend.at_end(weakref.WeakMethod(self._on_loop_end))
        return backend

    def _on_loop_end(self) -> None:
        """The event loop is about to end. The pool may be used in the next one."""
        self._farewell = None
        self._cancel_timers()
        self._start_empty(_close)

    def _start_empty(self, let_go: Callable[[Connection], None]) -> None:
        """Forget connections that belong to an event loop that ends, or to the process we were forked from."""
        entries = self._replace_state().entries()
        self.backend = self._timer = self._farewell = None
        self._timer_at = math.inf
        self._draining.clear()
        self._forgotten.clear()
        if self._options.dialing is not None:
            self._options.dialing.names.forget()
        for entry in entries:
            entry.life = Life.CLOSED  # for whoever still holds it, and will give it back
            if entry.connection is not None:
                let_go(entry.connection)

    def after_fork(self) -> None:
        self._lock = threading.Lock()
        if self._options.dialing is not None:
            self._options.dialing.sessions.after_fork()
        self._start_empty(_abandon)


class Wakeup:
    """Wakes a waiter, which arms it again by a new event before it looks at what it was given."""

    __slots__ = ("event",)

    def __init__(self, event: Event) -> None:
        self.event = event

    def __call__(self) -> None:
        self.event.set()


OnEnd = Callable[[bool], None]
PoolWaiter = Waiter[Connection]
State = PoolState[Connection]


def _abandon(connection: Connection) -> None:
    connection.abandon()


def _close(connection: Connection) -> None:
    connection.close()


def _dial_error(exc: BaseException, clock: Clock, peer: str) -> HTTPCoreError:
    """What those who waited for a dial get to hear of its end."""
    if isinstance(exc, HTTPCoreError):
        error = exc
    elif isinstance(exc, Exception):
        error = ConnectError(f"the connection could not be made: {type(exc).__name__}: {exc}")
        error.__cause__ = exc
    else:
        error = ConnectError("the dial was cancelled")
    total = clock.explain(error, peer)
    if total is not None:
        total.__cause__ = error
    return total or error


_keepers: weakref.WeakSet[Keeper] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for keeper in list(_keepers):
        keeper.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
