"""The state of a `PoolModel` as a plain value, and a model again from that value.

A shape is what tells one state from another: not which request, connection or origin has which name, nor what has been
counted. It holds all that the pool decides by, so that a model made from it goes on as the one it was taken from.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from httpcore._config import Limits
from httpcore._pool_state import CloseReason, Entry, Life, Queue, Record, Waiter
from httpcore._route import Route
from tests.support.pool_driver import Connection, Request
from tests.support.pool_model import PoolModel

__all__ = ["Shape", "Traits", "model_of", "shape_of", "traits_of"]

Queued = tuple[bool, int, int]
"""One who waits: whether it is in its queue, its place among those for whom nobody dials, and its dial."""
Traits = tuple[int, int, int, bool, bool, bool, bool, int, int, int, int, int]
"""An open connection: life, capacity, requests that it carries, whether it is shared, retiring, used, closed; how many
hold it and have not looked, and how many run; its place among the shared, the idle ones of its origin, and all idle."""
OfOrigin = tuple[int, bool, int, int, int, tuple[Queued, ...], tuple[Queued, ...], tuple[int, ...], tuple[Traits, ...]]
"""What was learnt; whether the order of its dials was broken; its place among those that would dial; its counts of
dials and of active connections; both queues; the dials that are for nobody; the open connections."""
Shape = tuple[int, tuple[OfOrigin, ...]]
"""How many hold a connection that has gone, and have not looked; and the origins, sorted."""

T = TypeVar("T")

# Plain numbers, so that they can be sorted and stored.
_NOWHERE = -1
_LEARNT = (None, False, True)
_LIVES = tuple(Life)


def shape_of(model: PoolModel, routes: tuple[Route, ...]) -> Shape:
    state = model.driver.state
    records = {record.route: record for record in state.records()}
    seen, running, idle = *_holders(model), _places(state._idle)
    hungry = _places(state._hungry)
    opened: dict[Record[Connection], list[Traits]] = {record: [] for record in records.values()}
    for entry in state._live:
        if entry.life is not Life.OPENING:
            opened[entry.record].append(_traits(model, entry, seen.get(entry, 0), running.get(entry, 0), idle))
    origins: list[OfOrigin] = []
    for route in routes:
        record = records.get(route) or Record(route)  # one that nobody has asked for yet is as one that has nothing
        origins.append(
            (
                _LEARNT.index(record.is_shared),
                record in model.renewed,
                hungry.get(record, _NOWHERE),
                record.opening,
                record.active,
                _queued(model, record.queue),
                _queued(model, record.fresh_queue),
                tuple(map(_dial, record.detached)),
                tuple(sorted(opened.get(record, ()))),
            )
        )
    return sum(seen[entry] for entry in seen if entry.life is Life.CLOSED), tuple(sorted(origins))


def traits_of(model: PoolModel, entry: Entry[Connection]) -> Traits:
    seen, running = _holders(model)
    return _traits(model, entry, seen.get(entry, 0), running.get(entry, 0), _places(model.driver.state._idle))


def _holders(model: PoolModel) -> tuple[dict[Entry[Connection], int], dict[Entry[Connection], int]]:
    counts: tuple[dict[Entry[Connection], int], ...] = ({}, {})
    for found, requests in zip(counts, (model.served, model.running), strict=True):
        for request in requests:
            entry = request.entry
            assert entry is not None
            found[entry] = found.get(entry, 0) + 1
    return counts[0], counts[1]


def _places(things: Iterable[T]) -> dict[T, int]:
    return {thing: place for place, thing in enumerate(things)}


def _traits(
    model: PoolModel, entry: Entry[Connection], seen: int, running: int, idle: dict[Entry[Connection], int]
) -> Traits:
    record = entry.record
    return (
        _LIVES.index(entry.life),
        entry.capacity,
        entry.reserved,
        entry in model.shared,
        entry.is_retiring,
        entry in model.used,
        entry.connection is None or entry.connection.is_closed,
        seen,
        running,
        list(record.shared).index(entry) if entry in record.shared else _NOWHERE,
        list(record.idle).index(entry) if entry in record.idle else _NOWHERE,
        idle.get(entry, _NOWHERE),
    )


def _queued(model: PoolModel, queue: Queue[Connection]) -> tuple[Queued, ...]:
    undialed = _places(queue.undialed)
    return tuple(
        (waiter in queue.waiters, undialed.get(waiter, _NOWHERE), _dial(waiter.opening))
        for request in model.queued
        if (waiter := request.waiter) is not None and waiter.queue is queue
    )


def _dial(opening: Entry[Connection] | None) -> int:
    return _NOWHERE if opening is None else 2 * opening.is_dialed + opening.is_adopted


def model_of(shape: Shape, routes: tuple[Route, ...], limits: Limits, dials_inline: bool) -> PoolModel:
    """A model in this state, without a past."""
    model = PoolModel(limits, dials_inline)
    state = model.driver.state
    gone, origins = shape
    hungry: list[tuple[int, Record[Connection]]] = []
    idle: list[tuple[int, Entry[Connection]]] = []
    for route, origin in zip(routes, origins, strict=True):
        record = state._record(route)
        learnt, is_renewed, hunger, record.opening, record.active, queued, fresh, detached, opened = origin
        record.is_shared = _LEARNT[learnt]
        if is_renewed:
            model.renewed.add(record)
        if hunger != _NOWHERE:
            hungry.append((hunger, record))
        _wait(model, record, record.queue, queued)
        _wait(model, record, record.fresh_queue, fresh)
        for dial in detached:
            record.detached[_opening(model, record, dial)] = None
        _open(model, record, opened, idle)
    state._hungry.update((record, None) for _, record in sorted(hungry, key=_place))
    state._idle.update((entry, None) for _, entry in sorted(idle, key=_place))
    for _ in range(gone):
        _hold_what_has_gone(model, next(iter(state._records.values())))
    return model


def _place(pair: tuple[int, object]) -> int:
    return pair[0]


def _wait(model: PoolModel, record: Record[Connection], queue: Queue[Connection], queued: tuple[Queued, ...]) -> None:
    undialed: list[tuple[int, Waiter[Connection]]] = []
    for is_queued, place, dial in queued:
        request = Request()
        request.waiter = waiter = Waiter(record, queue, request.wake)
        model.queued.append(request)
        if is_queued:
            queue.waiters[waiter] = None
        if place != _NOWHERE:
            undialed.append((place, waiter))
        if dial != _NOWHERE:
            waiter.opening = _opening(model, record, dial)
            waiter.opening.dialer = waiter
        model.seen[request] = None, None, waiter.opening
        model.wakes[request] = 0
    queue.undialed.update((waiter, None) for _, waiter in sorted(undialed, key=_place))


def _opening(model: PoolModel, record: Record[Connection], dial: int) -> Entry[Connection]:
    entry = Entry(record)
    entry.is_dialed, entry.is_adopted = bool(dial & 2), bool(dial & 1)
    model.driver.state._live[entry] = model.entries[entry] = None
    if entry.is_dialed:
        model.dials.append(entry)
    return entry


def _open(
    model: PoolModel,
    record: Record[Connection],
    opened: tuple[Traits, ...],
    idle: list[tuple[int, Entry[Connection]]],
) -> None:
    shared: list[tuple[int, Entry[Connection]]] = []
    own: list[tuple[int, Entry[Connection]]] = []
    for traits in opened:
        life, capacity, reserved, is_shared, is_retiring, is_used, is_closed, seen, running, *places = traits
        entry = Entry(record)
        entry.life, entry.capacity, entry.reserved, entry.is_retiring = _LIVES[life], capacity, reserved, is_retiring
        entry.connection = Connection()
        entry.connection.is_closed = is_closed
        entry.requests = seen + max(running, is_used)
        entry.keepalive = entry.expires_at = model.driver.state._keepalive
        record.reused += max(entry.requests - 1, 0)
        model.driver.state._live[entry] = model.entries[entry] = None
        if is_shared:
            model.shared.add(entry)
        if is_used:
            model.used.add(entry)
        model.served += [_holding(record, entry) for _ in range(seen)]
        model.running += [_holding(record, entry) for _ in range(running)]
        for found, place in zip((shared, own, idle), places, strict=True):
            if place != _NOWHERE:
                found.append((place, entry))
    record.shared.update((entry, None) for _, entry in sorted(shared, key=_place))
    record.idle.update((entry, None) for _, entry in sorted(own, key=_place))


def _holding(record: Record[Connection], entry: Entry[Connection]) -> Request:
    request = Request()
    request.waiter = Waiter(record, record.queue, request.wake)
    request.waiter.entry = entry
    return request


def _hold_what_has_gone(model: PoolModel, record: Record[Connection]) -> None:
    entry = Entry(record)
    entry.life, entry.reserved, entry.requests = Life.CLOSED, 1, 1
    record.closed[CloseReason.NOT_REUSABLE] += 1
    model.entries[entry] = None
    model.driver.doomed.append(entry)
    model.served.append(_holding(record, entry))
