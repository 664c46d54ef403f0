"""A pool state, the requests that use it, and what holds after each step, whatever happens in whatever order."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise

from httpcore._config import Limits
from httpcore._pool_state import CloseReason, Entry, Life, Queue, Record, Waiter
from httpcore._route import Route
from tests.support.pool_driver import Connection, Driver, Request

__all__ = ["PoolModel"]


class PoolModel:
    """The requests of a pool, each of which waits, holds a connection, or is over.

    Args:
        limits: of the pool.
        dials_inline: as in `PoolState`.
        is_prompt: whether waiters look as soon as they are woken.
    """

    def __init__(self, limits: Limits, dials_inline: bool = False, is_prompt: bool = False) -> None:
        self.limits = limits
        self.is_prompt = is_prompt
        self.driver = Driver(limits, dials_inline)
        self.queued: list[Request] = []  # by age; those that were served or turned away leave
        self.served: list[Request] = []  # they have not looked yet, and may still be cancelled
        self.running: list[Request] = []
        self.dials: list[Entry[Connection]] = []  # begun; the state may have given them up meanwhile
        self.entries: dict[Entry[Connection], None] = {}  # all that ever were seen
        self.failed: set[Entry[Connection]] = set()
        self.shared: set[Entry[Connection]] = set()
        self.renewed: set[Record[Connection]] = set()  # routes where a later waiter may have a dial, an earlier none
        self.seen: dict[Request, tuple[object, object, object]] = {}  # what a waiter had been given at the last look
        self.used: set[Entry[Connection]] = set()  # those that a request was sent on
        self.opened: Counter[Route] = Counter()
        self.wakes: dict[Request, int] = {}

    # What happens.

    def want(self, route: Route, needs_fresh: bool = False) -> Request:
        records = [record for record in self.driver.state.records() if record.route == route]
        is_anyone_waiting = any(record.queue.waiters for record in records)
        expired = {entry for record in records for entry in record.idle if entry.expires_at <= self.driver.now}
        request = self.driver.want(route, needs_fresh)
        if needs_fresh and request.waiter is not None:
            self.renewed.add(request.waiter.record)
        entry = request.acquired
        if entry is None:
            self.queued.append(request)
            return request
        assert not is_anyone_waiting, "a newcomer has passed a waiter"
        assert entry.record.route == route
        assert entry not in expired
        assert self.driver.now - entry.opened_at < _or_infinite(self.limits.max_connection_age)
        self.use(request)
        return request

    def cancel(self, request: Request) -> None:
        for owner in (self.queued, self.served):
            if request in owner:
                owner.remove(request)
        dial = request.opening
        self.driver.cancel(request)
        assert dial is None or dial.dialer is not None or dial.life is Life.CLOSED, "it is dialed for nobody"

    def use(self, request: Request) -> None:
        """It looks, and finds its connection."""
        assert request.entry is not None
        if request in self.served:
            self.served.remove(request)
        self.running.append(request)
        self.used.add(request.entry)

    def begin(self, request: Request) -> None:
        """It looks, and finds that it has to dial."""
        assert request.opening is not None
        self.driver.begin(request)
        self.dials.append(request.opening)

    def open(self, entry: Entry[Connection], capacity: int | None) -> None:
        self.dials.remove(entry)
        if not entry.record.route.may_share:
            capacity = None
        if entry.life is not Life.CLOSED:
            self.opened[entry.record.route] += 1
        if capacity is not None:
            self.shared.add(entry)
        self.driver.open(entry, capacity)

    def fail(self, entry: Entry[Connection]) -> None:
        self.dials.remove(entry)
        if entry.life is not Life.CLOSED:
            self.failed.add(entry)
        if entry.is_adopted:  # there may be no room for another, while somebody who came later has his
            self.renewed.add(entry.record)
        self.driver.fail(entry)

    def release(self, request: Request, is_reusable: bool = True, keepalive: float | None = None) -> None:
        self.running.remove(request)
        self.driver.release(request, is_reusable, keepalive)
        assert request.entry is not None
        if request.entry.life is Life.IDLE:
            assert is_reusable
            self._check_expiry(request.entry, keepalive)

    def wake_up(self) -> None:
        """All who were woken look."""
        for request in list(self.served):
            self.use(request)
        for request in self.undialed():
            self.begin(request)

    def forget(self) -> None:
        """Excuse no more what is right again, and cannot have gone wrong by what was."""
        for record in list(self.renewed):
            if _has_dials_in_order(record.queue) and not record.fresh_queue.waiters:
                self.renewed.remove(record)

    # What there is.

    def undialed(self) -> list[Request]:
        """Those who have to dial and have not begun."""
        return [request for request in self.queued if request.opening is not None and not request.opening.is_dialed]

    def open_entries(self) -> list[Entry[Connection]]:
        return [entry for entry in self.driver.state.entries() if entry.life is not Life.OPENING]

    def shared_entries(self) -> list[Entry[Connection]]:
        return [entry for entry in self.open_entries() if entry in self.shared]

    # What holds.

    def look(self) -> None:
        """Check everything, then note what is new."""
        self._note_entries()
        self._check_waiters()
        self._check_limits()
        self._check_places()
        self._check_dials()
        self._check_that_nobody_waits_in_vain()
        self._check_counts()
        self._note_outcomes()

    def _note_entries(self) -> None:
        for entry in self.driver.state.entries():
            self.entries[entry] = None
        for request in [*self.queued, *self.running]:
            if request.entry is not None:
                self.entries[request.entry] = None

    def _check_limits(self) -> None:
        state, limits = self.driver.state, self.limits
        assert limits.max_connections is None or state.total <= limits.max_connections
        for record in state.records():
            assert limits.max_connections_per_origin is None or record.total <= limits.max_connections_per_origin
        idle = sum(entry.life is Life.IDLE for entry in state.entries())
        assert limits.max_keepalive_connections is None or idle <= limits.max_keepalive_connections
        for entry in self.entries:
            assert 0 <= entry.reserved <= entry.requests
            assert entry.capacity >= 1
            assert limits.max_requests_per_connection is None or entry.requests <= limits.max_requests_per_connection, (
                "a connection was given more requests than it may carry"
            )

    def _check_places(self) -> None:
        """Every connection is in exactly one place, which is that of its life; what is gone was closed, once."""
        state = self.driver.state
        live = set(state.entries())
        holders = Counter(request.entry for request in [*self.queued, *self.served, *self.running] if request.entry)
        for entry in self.entries:
            record = entry.record
            assert (entry.dialer is not None) + (entry in record.detached) == (entry.life is Life.OPENING)
            assert (entry in record.idle) + (entry in state._idle) == 2 * (entry.life is Life.IDLE)
            assert (entry.life is Life.CLOSED) == (entry not in live)
            assert (entry.life is Life.CLOSED) == ((entry in self.driver.doomed) != (entry in self.failed))
            assert entry.reserved == holders[entry], "its requests are not those that hold it"
            assert (entry.life is Life.ACTIVE) == bool(entry.reserved and entry in live)
            if entry.life in (Life.ACTIVE, Life.IDLE):
                assert entry.connection is not None
                assert not entry.connection.is_closed
                assert not (entry.life is Life.IDLE and entry.is_retiring)
            assert (entry in record.shared) == (entry.capacity > 1 and _has_slot(entry, self.limits))

    def _check_waiters(self) -> None:
        """Who waits is in its queue, in order; who was served or turned away was woken, in order, and is in none."""
        state = self.driver.state
        for request in self.queued:
            now = request.entry, request.error, request.opening
            was = self.seen.get(request, (None, None, None))
            if any(new is not None and new is not old for new, old in zip(now, was, strict=True)):
                assert request.wakes > self.wakes.get(request, 0), "it was given something and sleeps on"
            if state.dials_inline and was[2] is not None:
                assert request.entry in (None, was[2]), "it dials and cannot take another connection"
                assert request.entry or request.error or request.opening is was[2], "it dials, but not for itself"
        for record in state.records():
            for queue in (record.queue, record.fresh_queue):
                mine = [
                    request for request in self.queued if request.waiter is not None and request.waiter.queue is queue
                ]
                if mine or queue.waiters:
                    self._check_queue(record, queue, mine)
        for request in self.queued:
            if (
                request.entry is not None
                and request.waiter is not None
                and request.waiter.queue is request.waiter.record.fresh_queue
            ):
                assert request.entry not in self.used, "it was given a used connection"

    def _check_queue(self, record: Record[Connection], queue: Queue[Connection], mine: list[Request]) -> None:
        is_inline = self.driver.state.dials_inline
        queued = [request for request in mine if request.is_waiting and not (is_inline and request.opening)]
        assert list(queue.waiters) == [request.waiter for request in queued]
        served = [index for index, request in enumerate(mine) if request.entry is not None]
        left = [index for index, request in enumerate(mine) if request in queued]
        assert not served or not left or max(served) < min(left), "somebody was passed"
        if record not in self.renewed:
            assert _has_dials_in_order(queue), "somebody has a dial before who has waited longer"

    def _check_dials(self) -> None:
        for entry in self.driver.state.entries():
            if entry.life is not Life.OPENING:
                continue
            if entry.dialer is None:
                assert entry.is_dialed, "nobody dials it, and nobody will"
                assert not _undialed(entry.record), "a dial for nobody, and somebody without one"
            else:
                assert entry.dialer.opening is entry
        for record in self.driver.state.records():
            assert record.is_shared is not None or record.opening <= 1, "one dial is enough to find out"

    def _check_that_nobody_waits_in_vain(self) -> None:
        state, limits = self.driver.state, self.limits
        has_idle = any(entry.life is Life.IDLE for entry in state.entries())
        has_room = limits.max_connections is None or state.total < limits.max_connections or has_idle
        for record in state.records():
            if record.queue.waiters:
                assert not record.idle
                assert not record.shared
            undialed = _undialed(record)
            of_origin = limits.max_connections_per_origin
            has_own_room = of_origin is None or record.total < of_origin or record.idle
            can_dial = record.is_shared is False or not record.opening
            assert not (undialed and has_room and has_own_room and can_dial), "it could dial, but does not"
            is_hungry = undialed and (of_origin is None or record.total < of_origin) and can_dial
            assert (record in state._hungry) == bool(is_hungry)

    def _check_counts(self) -> None:
        state = self.driver.state
        live = state.entries()
        assert state.total == len(live)
        assert len(state._idle) == sum(entry.life is Life.IDLE for entry in live)
        of: dict[Record[Connection], list[Entry[Connection]]] = {record: [] for record in state.records()}
        for entry in self.entries:
            of[entry.record].append(entry)
        for record, entries in of.items():
            lives = [entry.life for entry in entries]
            assert record.opening == lives.count(Life.OPENING)
            assert record.active == lives.count(Life.ACTIVE)
            assert len(record.idle) == lives.count(Life.IDLE)
            assert record.total == len(lives) - lives.count(Life.CLOSED)
            assert len(record.detached) == sum(map(_is_for_nobody, entries))
            assert record.opened == self.opened[record.route]
            assert record.reused == sum(max(entry.requests - 1, 0) for entry in entries)
            if record.closed or Life.CLOSED in lives:
                self._check_reasons(record, [entry for entry in entries if entry.life is Life.CLOSED])

    def _check_reasons(self, record: Record[Connection], gone: list[Entry[Connection]]) -> None:
        assert record.closed == Counter([entry.close_reason for entry in gone])
        assert record.closed[CloseReason.FAILED_TO_OPEN] == sum(entry in self.failed for entry in gone)

    def _check_expiry(self, entry: Entry[Connection], keepalive: float | None) -> None:
        """That of a connection that has just become idle."""
        now, max_age = self.driver.now, _or_infinite(self.limits.max_connection_age)
        assert now - entry.opened_at < max_age
        kept = min(_or_infinite(keepalive), _or_infinite(self.limits.keepalive_expiry))
        assert entry.expires_at <= min(now + kept, entry.opened_at + max_age)

    def _note_outcomes(self) -> None:
        for request in self.queued:
            self.seen[request] = request.entry, request.error, request.opening
            self.wakes[request] = request.wakes
        self.served += [request for request in self.queued if request.entry is not None]
        self.queued = [request for request in self.queued if request.is_waiting]
        if self.is_prompt:
            self.wake_up()


def _has_dials_in_order(queue: Queue[Connection]) -> bool:
    return all(not later.opening or earlier.opening for earlier, later in pairwise(queue.waiters))


def _is_for_nobody(entry: Entry[Connection]) -> bool:
    return entry.life is Life.OPENING and entry.dialer is None


def _undialed(record: Record[Connection]) -> list[Waiter[Connection]]:
    return [waiter for waiter in [*record.fresh_queue.waiters, *record.queue.waiters] if waiter.opening is None]


def _has_slot(entry: Entry[Connection], limits: Limits) -> bool:
    is_open = entry.life in (Life.ACTIVE, Life.IDLE) and not entry.is_retiring
    return (
        is_open
        and entry.reserved < entry.capacity
        and entry.requests < _or_infinite(limits.max_requests_per_connection)
    )


def _or_infinite(limit: float | None) -> float:
    return math.inf if limit is None else limit
