"""Who gets which connection. Everything that decides it lives here, and nothing here awaits, reads a clock or touches
a socket.

Inputs are method calls: `acquire`, `queue`, `cancel`, `opened`, `failed`, `released`, `closed`, `broken`, `retire`,
`resized`, `expire`, `close`. Outputs are what they leave behind: a `Waiter` that was given an `entry`, an `opening` to
dial or an `error`, and was woken; and `doomed`, the entries whose connections (or dials) the caller has to close.

The caller holds one lock around every call, never across I/O.

Rules:

- A connection that carries one request at a time is lent; one that carries several is shared, slot by slot.
- Whoever waits is served first in, first out per route, and takes whatever comes first: a freed connection, or any
  dial of the route that ends. A newcomer never passes a waiter.
- Routes take turns where the limit on all connections makes them compete: a released connection is closed to make room
  for a route that has none, or at least two fewer; otherwise it stays, so that nothing is opened and closed in vain.
- An idle connection makes room for whoever needs it. So nobody waits for room while one is idle, and closing an idle
  one never serves anybody.
- There are never more dials of a route than requests that wait for one, when they are started. A dial that ends when
  nobody waits becomes an idle connection; one whose last waiter is cancelled is cancelled too; one that nobody has
  begun when nobody needs it any more is not begun.
- Where connections of a route are shared, or nobody knows yet, there is one dial at a time and the others wait for it.
  Its failure is theirs too, unless it was a timeout, which is its own, or the route has another connection.
- A request that needs a fresh connection takes none that carried a request before it began to wait.
- Each call does a bounded amount of work, whatever the pool holds; `expire` and `close` look at all idle ones.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from collections.abc import Callable
from copy import copy
from enum import Enum
from typing import Generic, Protocol, TypeVar

from ._config import Limits
from ._errors import HTTPCoreError, PoolClosed, TimeoutException
from ._route import Route

__all__ = ["CloseReason", "Entry", "Life", "PoolState", "Record", "Waiter"]

# Records of routes without connections are kept for their counters and for what was learnt, up to this many.
_MAX_QUIET_RECORDS = 1024
# How many competing routes one release looks at before it gives the connection to its own.
_MAX_RIVALS = 4


class Life(Enum):
    OPENING = "opening"
    ACTIVE = "active"
    IDLE = "idle"
    CLOSED = "closed"


# Before Python 3.12, to look for a member on its class costs as much as a call.
_OPENING, _ACTIVE, _IDLE, _CLOSED = Life


class CloseReason(Enum):
    """Why a connection left the pool, as counted by `ConnectionPool.stats()`."""

    FAILED_TO_OPEN = "failed to open"
    CANCELLED_DIAL = "dial no longer needed"
    NOT_REUSABLE = "not reusable"
    EXPIRED = "expired"
    RETIRED = "retired by age or number of requests"
    EVICTED = "too many idle"
    MADE_ROOM = "made room for another origin"
    ENDED_BY_PEER = "ended by the peer while idle"
    POOL_CLOSED = "pool closed"


class Connection(Protocol):
    """What the state must know of a connection: nothing but that it can be closed."""

    def close(self) -> None: ...


C = TypeVar("C", bound=Connection)


class Entry(Generic[C]):
    """One connection as the pool knows it, from its dial to its end.

    Attributes:
        connection: there once it is open.
        capacity: requests that it carries at once, 1 or more: 1 where it is lent.
        reserved: requests that it carries now.
        requests: requests that were ever given it.
        is_adopted: whether the dial was begun for another request than the one it is for now.
        is_dialed: set by whoever dials, when they begin.
        cancel_dial: set by whoever dials, to stop that.
        phase: set by whoever dials, to tell how far that is.
        keepalive: seconds for which it is kept idle: the pool's, or less where the peer said so.
        is_retiring: whether it takes no more requests; it is closed when the last one is done.
        close_reason: why it was closed, or will be when it has retired.
    """

    __slots__ = (
        "cancel_dial", "capacity", "close_reason", "connection", "dialer", "expires_at", "is_adopted", "is_dialed",
        "is_retiring", "keepalive", "life", "opened_at", "phase", "record", "requests", "reserved",
    )  # fmt: skip

    def __init__(self, record: Record[C]) -> None:
        self.record = record
        self.life = _OPENING
        self.connection: C | None = None
        self.dialer: Waiter[C] | None = None
        self.is_adopted = False
        self.is_dialed = False
        self.cancel_dial: Callable[[], object] | None = None
        self.phase: Callable[[], str] = str
        self.close_reason = CloseReason.NOT_REUSABLE
        self.capacity = 1
        self.reserved = 0
        self.requests = 0
        self.opened_at = 0.0
        self.expires_at = math.inf
        self.keepalive = math.inf
        self.is_retiring = False


class Waiter(Generic[C]):
    """A request that waits for a connection.

    Attributes:
        entry: what it was given; its slot is reserved for it.
        opening: what it has to dial, or is dialing; it may be given another entry meanwhile.
        error: why its dial failed.
        wake: called when one of these has changed. It must neither block nor fail.
        queue: where it waits.
    """

    __slots__ = ("entry", "error", "opening", "queue", "record", "wake")

    def __init__(self, record: Record[C], queue: Queue[C], wake: Callable[[], None]) -> None:
        self.record = record
        self.queue = queue
        self.wake = wake
        self.entry: Entry[C] | None = None
        self.opening: Entry[C] | None = None
        self.error: HTTPCoreError | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether it was given neither a connection nor an error yet."""
        return self.entry is None and self.error is None


class Queue(Generic[C]):
    """Waiters, first in, first out.

    Attributes:
        waiters: all who can be given a connection.
        undialed: those of them for whom nobody dials.
    """

    __slots__ = ("undialed", "waiters")

    def __init__(self) -> None:
        self.waiters: OrderedDict[Waiter[C], None] = OrderedDict()
        self.undialed: OrderedDict[Waiter[C], None] = OrderedDict()


class Record(Generic[C]):
    """A route: its connections, its waiters, and what was learnt about it."""

    __slots__ = (
        "active", "closed", "detached", "fresh_queue", "idle", "is_shared", "opened", "opening", "queue", "retried",
        "reused", "route", "shared",
    )  # fmt: skip

    def __init__(self, route: Route) -> None:
        self.route = route
        self.opening = 0
        self.active = 0
        # Ordered dicts, because looking for the first or last of a plain one takes the longer, the more were removed.
        self.idle: OrderedDict[Entry[C], None] = OrderedDict()  # newest last
        self.shared: OrderedDict[Entry[C], None] = OrderedDict()  # shared entries with a free slot
        self.detached: OrderedDict[Entry[C], None] = OrderedDict()  # dials whose waiter was served otherwise
        self.queue: Queue[C] = Queue()
        self.fresh_queue: Queue[C] = Queue()  # those whom only a fresh connection helps
        self.is_shared: bool | None = None if route.may_share else False
        self.opened = 0
        self.reused = 0
        self.retried = 0
        self.closed: Counter[CloseReason] = Counter()

    @property
    def total(self) -> int:
        return self.opening + self.active + len(self.idle)

    @property
    def waiting(self) -> int:
        return len(self.queue.waiters) + len(self.fresh_queue.waiters)

    @property
    def is_quiet(self) -> bool:
        return not (self.total or self.waiting)

    @property
    def first_undialed(self) -> Waiter[C] | None:
        """Who is dialed for next. Those whom nothing but a dial helps come before the others."""
        return next(iter(self.fresh_queue.undialed or self.queue.undialed), None)

    @property
    def can_dial(self) -> bool:
        """Whether a further dial makes sense: where connections are shared, the one under way may serve all."""
        return self.is_shared is False or not self.opening


class PoolState(Generic[C]):
    """The state of one pool.

    Args:
        limits: how much it may hold.
        dials_inline: whether a waiter dials itself and can do nothing else meanwhile, so that it must not be given
            another connection before its dial has ended (blocking code).
    """

    def __init__(self, limits: Limits, dials_inline: bool = False) -> None:
        self.doomed: list[Entry[C]] = []
        self.is_closed = False
        self.dials_inline = dials_inline
        self._limits = limits
        self._max_total = _or_infinite(limits.max_connections)
        self._max_per_origin = _or_infinite(limits.max_connections_per_origin)
        self._max_idle = _or_infinite(limits.max_keepalive_connections)
        self._keepalive = math.inf if limits.keepalive_expiry is None else limits.keepalive_expiry
        self._max_age = math.inf if limits.max_connection_age is None else limits.max_connection_age
        self._max_requests = _or_infinite(limits.max_requests_per_connection)
        self._records: dict[Route, Record[C]] = {}
        self._purge_at = _MAX_QUIET_RECORDS
        self._idle: OrderedDict[Entry[C], None] = OrderedDict()  # of all routes, least recently used first
        # Routes that would dial if there were room, in turn.
        self._hungry: OrderedDict[Record[C], None] = OrderedDict()
        self._live: dict[Entry[C], None] = {}

    # Inputs.

    def acquire(self, route: Route, now: float) -> Entry[C] | None:
        """A connection that can be used at once, reserved for the caller; None where the caller has to `queue`."""
        record = self._records.get(route)
        if record is None or record.queue.waiters or self.is_closed:
            return None
        while candidates := record.shared or record.idle:
            entry = next(reversed(candidates))
            if entry.life is _IDLE:
                if entry.expires_at > now:
                    return self._reserve(entry)
                self._drop(entry, CloseReason.EXPIRED)
            elif now - entry.opened_at < self._max_age:
                return self._reserve(entry)
            else:
                self._retire(entry, CloseReason.RETIRED)
        return None

    def queue(self, route: Route, wake: Callable[[], None], needs_fresh: bool = False) -> Waiter[C]:
        """Wait for a connection; the waiter may have been given an `opening` already.

        Raises: PoolClosed.
        """
        if self.is_closed:
            raise PoolClosed("the pool is closed and takes no more requests")
        record = self._record(route)
        queue = record.fresh_queue if needs_fresh else record.queue
        waiter = Waiter(record, queue, wake)
        queue.waiters[waiter] = queue.undialed[waiter] = None
        self._settle(record)
        return waiter

    def cancel(self, waiter: Waiter[C], now: float) -> None:
        """The request gives up waiting. What it was given, but has not used, goes on to the next."""
        entry = waiter.entry
        if entry is not None:
            entry.requests -= 1
            entry.record.reused -= 1 if entry.requests else 0
            self.released(entry, True, now)
            return
        record, opening = waiter.record, waiter.opening
        self._forget(waiter)
        if opening is not None and opening in record.detached:
            has_stopped = self.dials_inline and opening.is_dialed  # as it was the request that dialed
            if has_stopped or record.first_undialed is None:
                self._drop(opening, CloseReason.CANCELLED_DIAL)
        self._settle(record)

    def opened(self, entry: Entry[C], connection: C, capacity: int | None, now: float) -> bool:
        """A dial has ended well; `capacity` is None for a connection that is lent, else as for `resized`.

        Returns: False where nobody wants it any more and the caller must close it.
        """
        if entry.life is _CLOSED:
            return False
        record = entry.record
        dialer = entry.dialer
        self._detach(entry)
        record.detached.pop(entry, None)
        record.opening -= 1
        record.active += 1
        record.opened += 1
        record.is_shared = capacity is not None
        entry.life = _ACTIVE
        entry.connection = connection
        entry.capacity = 1 if capacity is None else max(capacity, 1)
        entry.opened_at = now
        entry.keepalive = self._keepalive
        entry.expires_at = now + min(self._keepalive, self._max_age)
        entry.cancel_dial = None
        if dialer is not None:
            if self.dials_inline:
                self._give(entry, dialer)
            else:  # the first in the queue gets this one; the others have waited for less long than the dialer
                self._want_dial(dialer)
        self._pass_on(entry, is_fresh=True)
        self._settle(record)
        return True

    def failed(self, entry: Entry[C], error: HTTPCoreError) -> None:
        """A dial has failed; whoever it was for hears why, unless something else served it meanwhile."""
        if entry.life is _CLOSED:
            return
        record, dialer = entry.record, entry.dialer
        self._drop(entry, CloseReason.FAILED_TO_OPEN)
        if dialer is not None and entry.is_adopted:  # whose deadlines they were is gone; it may have better luck
            self._want_dial(dialer)
        elif dialer is not None:
            self._turn_away(dialer, error)
        is_timeout = isinstance(error, TimeoutException)  # which says nothing about what others wait for
        if record.is_shared is not False and not record.total and not is_timeout:
            for waiter in [*record.fresh_queue.waiters, *record.queue.waiters]:
                self._turn_away(waiter, _again(error))
        self._settle(record)

    def released(self, entry: Entry[C], is_reusable: bool, now: float, keepalive: float | None = None) -> None:
        """A request is done with its connection.

        Args:
            is_reusable: whether another request may follow on it.
            keepalive: how many seconds the peer will keep it, where it said so.
        """
        entry.reserved -= 1
        if entry.life is _CLOSED:
            return
        if keepalive is not None:
            entry.keepalive = min(keepalive, self._keepalive)
        reason = self._judge(entry, is_reusable, now)
        if reason is not None:
            self._retire(entry, reason)
        else:
            expires_at, retires_at = now + entry.keepalive, entry.opened_at + self._max_age
            entry.expires_at = expires_at if expires_at < retires_at else retires_at
            self._pass_on(entry, is_fresh=not entry.requests)
        record = entry.record
        if entry not in self._live or record.detached or self._hungry:  # else nothing has changed for those who wait
            self._settle(record)

    def closed(self, entry: Entry[C], reason: CloseReason = CloseReason.ENDED_BY_PEER) -> None:
        """A connection has ended while idle; one that was reserved before that was noticed goes when it is released."""
        if entry.life is _IDLE:
            self._drop(entry, reason)
        elif entry.life is _ACTIVE:
            self._retire(entry, reason)

    def broken(self, entry: Entry[C]) -> None:
        """A shared connection has ended under the requests that it carries, which hear it by themselves and release it
        in their own time: its slot is free at once."""
        if entry.life is _ACTIVE:
            self._drop(entry, CloseReason.NOT_REUSABLE)
            self._settle(entry.record)

    def retire(self, entry: Entry[C]) -> None:
        """An open connection takes no more requests; it is closed when the last one is done."""
        if entry.life is not _CLOSED:
            self._retire(entry, CloseReason.NOT_REUSABLE)

    def resized(self, entry: Entry[C], capacity: int) -> None:
        """A shared connection now carries more requests at once, or fewer. One that carries none for now, as HTTP/2
        allows, counts as one that carries one: that request waits on it, rather than on further dials."""
        entry.capacity = max(capacity, 1)
        if entry.connection is not None and entry.life is not _CLOSED:
            self._offer(entry)
            if entry.life is _ACTIVE:
                self._pass_on(entry, is_fresh=False)
            self._settle(entry.record)

    def expire(self, now: float) -> None:
        """Close what has been idle too long."""
        for entry in list(self._idle):
            if entry.expires_at <= now:
                self._drop(entry, CloseReason.EXPIRED)

    def soonest_expiry(self) -> float | None:
        """When the first of the idle connections will have been idle too long; None where none ever will."""
        soonest = min((entry.expires_at for entry in self._idle), default=math.inf)
        return None if soonest == math.inf else soonest

    def close_idle(self) -> None:
        """Close what no request uses."""
        for entry in list(self._idle):
            self._drop(entry, CloseReason.POOL_CLOSED)

    def drain(self) -> None:
        """Take no more requests. Those that wait are turned away, those that run may end."""
        self.is_closed = True
        self._hungry.clear()
        for entry in self.entries():
            if entry.dialer is not None:
                self._turn_away(entry.dialer, _refusal())
            if entry.life is _OPENING:
                self._drop(entry, CloseReason.POOL_CLOSED)
        for record in self._records.values():
            for waiter in [*record.fresh_queue.waiters, *record.queue.waiters]:
                self._turn_away(waiter, _refusal())
        self.close_idle()

    def close(self) -> None:
        """Take no more requests, and close everything."""
        self.drain()
        for entry in self.entries():
            self._drop(entry, CloseReason.POOL_CLOSED)

    # What it knows.

    @property
    def total(self) -> int:
        """Connections that are opening, active or idle."""
        return len(self._live)

    def records(self) -> list[Record[C]]:
        """The routes that are in use, and those of late."""
        return list(self._records.values())

    def entries(self) -> list[Entry[C]]:
        """Every connection that is opening, active or idle."""
        return list(self._live)

    # How it decides.

    def _record(self, route: Route) -> Record[C]:
        record = self._records.get(route)
        if record is None:
            if len(self._records) >= self._purge_at:
                self._records = {key: kept for key, kept in self._records.items() if not kept.is_quiet}
                self._purge_at = max(_MAX_QUIET_RECORDS, 2 * len(self._records))  # so that it is done seldom enough
            record = self._records[route] = Record(route)
        return record

    def _reserve(self, entry: Entry[C]) -> Entry[C]:
        record = entry.record
        if entry.life is _IDLE:
            del record.idle[entry]
            del self._idle[entry]
            record.active += 1
            entry.life = _ACTIVE
        entry.reserved += 1
        if entry.requests:
            record.reused += 1
        entry.requests += 1
        if entry.capacity > 1:
            self._offer(entry)
        return entry

    def _has_slot(self, entry: Entry[C]) -> bool:
        return entry.reserved < entry.capacity and entry.requests < self._max_requests and not entry.is_retiring

    def _offer(self, entry: Entry[C]) -> None:
        """Let `acquire` find a shared connection as long as it has a free slot."""
        if entry.capacity > 1 and self._has_slot(entry):
            entry.record.shared[entry] = None
        else:
            entry.record.shared.pop(entry, None)

    def _judge(self, entry: Entry[C], is_reusable: bool, now: float) -> CloseReason | None:
        """Why a connection takes no more requests; None where it does."""
        if entry.is_retiring:
            return entry.close_reason
        if not is_reusable:
            return CloseReason.NOT_REUSABLE
        if now - entry.opened_at >= self._max_age or entry.requests >= self._max_requests:
            return CloseReason.RETIRED
        return CloseReason.POOL_CLOSED if self.is_closed else None

    def _retire(self, entry: Entry[C], reason: CloseReason) -> None:
        entry.is_retiring = True
        entry.close_reason = reason
        entry.record.shared.pop(entry, None)
        if not entry.reserved:
            self._drop(entry, reason)

    def _pass_on(self, entry: Entry[C], is_fresh: bool) -> None:
        """Give what an open connection has free to whoever is first, or keep it idle.

        Args:
            is_fresh: whether no request has been sent on it yet, so that it helps everybody.
        """
        record = entry.record
        if self._hungry or record.queue.waiters or record.fresh_queue.waiters:
            if not entry.reserved and not is_fresh and self._must_make_room(record):
                self._drop(entry, CloseReason.MADE_ROOM)
                return
            while (waiter := self._first_waiter(record, is_fresh)) is not None and self._has_slot(entry):
                self._give(entry, waiter)
        if entry.capacity > 1:
            self._offer(entry)
        if not entry.reserved:
            self._make_idle(entry)

    def _first_waiter(self, record: Record[C], is_fresh: bool) -> Waiter[C] | None:
        waiters = record.queue.waiters
        if is_fresh and record.fresh_queue.waiters:
            waiters = record.fresh_queue.waiters
        return next(iter(waiters)) if waiters else None

    def _must_make_room(self, record: Record[C]) -> bool:
        """Whether a released connection has to go, because another route's turn has come or a fresh one is needed."""
        if record.fresh_queue.undialed and record.can_dial:
            return True
        if not self._hungry or len(self._live) < self._max_total:
            return False
        for _ in range(min(_MAX_RIVALS, len(self._hungry))):
            rival = next(iter(self._hungry))
            if rival is not record and (not rival.total or rival.total + 1 < record.total):
                return True
            self._hungry.move_to_end(rival)
            if rival is record:
                return False
        return False

    def _make_idle(self, entry: Entry[C]) -> None:
        entry.life = _IDLE
        entry.record.active -= 1
        entry.record.idle[entry] = None
        self._idle[entry] = None
        if len(self._idle) > self._max_idle:
            self._drop(next(iter(self._idle)), CloseReason.EVICTED)

    def _give(self, entry: Entry[C], waiter: Waiter[C]) -> None:
        self._forget(waiter)
        waiter.entry = self._reserve(entry)
        waiter.wake()

    def _turn_away(self, waiter: Waiter[C], error: HTTPCoreError) -> None:
        self._forget(waiter)
        waiter.error = error
        waiter.wake()

    def _forget(self, waiter: Waiter[C]) -> None:
        """Take a waiter out of its queue; its dial, if any, is for whoever needs one."""
        waiter.queue.waiters.pop(waiter, None)
        waiter.queue.undialed.pop(waiter, None)
        if waiter.opening is not None:
            self._detach(waiter.opening)

    def _want_dial(self, waiter: Waiter[C]) -> None:
        """A waiter for whom was dialed is the first to be dialed for again."""
        waiter.queue.undialed[waiter] = None
        waiter.queue.undialed.move_to_end(waiter, last=False)

    def _detach(self, opening: Entry[C]) -> None:
        """Take a dial from whom it was for; those that have begun are the first to be assigned again."""
        dialer, opening.dialer = opening.dialer, None
        if dialer is not None:
            dialer.opening = None
        detached = opening.record.detached
        detached[opening] = None
        if opening.is_dialed:
            detached.move_to_end(opening, last=False)

    def _assign(self, opening: Entry[C], waiter: Waiter[C]) -> None:
        """Let `opening` be dialed for `waiter`."""
        opening.record.detached.pop(opening, None)
        del waiter.queue.undialed[waiter]
        if self.dials_inline:
            del waiter.queue.waiters[waiter]
        opening.is_adopted = opening.is_dialed
        opening.dialer = waiter
        waiter.opening = opening
        waiter.wake()

    def _settle(self, record: Record[C]) -> None:
        """Match dials with those who need one, and start the ones that there is room for, in turns."""
        detached = record.detached
        while detached and (waiter := record.first_undialed) is not None:
            self._assign(next(iter(detached)), waiter)
        while detached and not (opening := next(reversed(detached))).is_dialed:
            self._drop(opening, CloseReason.CANCELLED_DIAL)
        self._note_hunger(record)
        while self._hungry:
            if len(self._live) >= self._max_total:
                if not self._idle:
                    break
                self._drop(next(iter(self._idle)), CloseReason.MADE_ROOM)  # the least recently used one of any route
            self._start_dial(next(iter(self._hungry)))

    def _start_dial(self, record: Record[C]) -> None:
        waiter = record.first_undialed
        assert waiter is not None, "only routes that would dial are hungry"
        opening = Entry(record)
        record.opening += 1
        self._live[opening] = None
        self._assign(opening, waiter)
        self._hungry.move_to_end(record)
        self._note_hunger(record)

    def _note_hunger(self, record: Record[C]) -> None:
        """Note whether a route would dial if there were room among all connections."""
        if (record.queue.undialed or record.fresh_queue.undialed) and record.can_dial:
            if record.total >= self._max_per_origin and record.idle:  # which do not help: a fresh one is needed
                self._drop(next(iter(record.idle)), CloseReason.MADE_ROOM)
            if record.total < self._max_per_origin:
                self._hungry[record] = None
                return
        self._hungry.pop(record, None)

    def _drop(self, entry: Entry[C], reason: CloseReason) -> None:
        record = entry.record
        if entry.life is _OPENING:
            self._detach(entry)
            del record.detached[entry]
            record.opening -= 1
        elif entry.life is _IDLE:
            del record.idle[entry]
            del self._idle[entry]
        else:
            record.active -= 1
        record.shared.pop(entry, None)
        entry.life = _CLOSED
        del self._live[entry]
        entry.close_reason = reason
        record.closed[reason] += 1
        if reason is not CloseReason.FAILED_TO_OPEN:  # which has left nothing to close
            self.doomed.append(entry)


def _again(error: HTTPCoreError) -> HTTPCoreError:
    """The same error for somebody else, as the traceback and notes of an exception belong to one who raises it."""
    again = copy(error)
    again.__cause__ = error.__cause__
    return again


def _refusal() -> PoolClosed:
    return PoolClosed("the pool was closed while the request waited for a connection")


def _or_infinite(limit: int | None) -> float:
    return math.inf if limit is None else limit
