"""The pool proved for small bounds: every state that can be reached is visited, and everything that holds is checked in
each. Where `test_pool_state_machine` looks far at random, this looks at all there is nearby."""

from __future__ import annotations

import os
import pickle
from collections.abc import Hashable, Iterator
from dataclasses import dataclass

import pytest

from httpcore._config import Limits
from httpcore._pool_state import Entry, Life, Record
from httpcore._route import Route
from tests.support.pool_driver import Connection, Request, route
from tests.support.pool_model import PoolModel

pytestmark = pytest.mark.time_limit(3600)

LENT = [route("a"), route("b")]
SHARED = [route("d", may_share=True), route("e", may_share=True)]

Action = tuple[str, int, int | bool | None]
"""What happens, the place of what it happens to, and how."""


@dataclass(frozen=True)
class Bounds:
    """What is searched.

    Args:
        requests: alive at once: waiting, served or running.
        connections: opening, active or idle at once, in all.
        may_need_fresh: whether requests may ask for a fresh connection.
    """

    routes: tuple[Route, ...]
    requests: int
    connections: int
    may_need_fresh: bool = False
    dials_inline: bool = False


def actions(model: PoolModel, bounds: Bounds) -> Iterator[Action]:
    """Everything that may happen next. What it happens to is named by its place, since each is done on a copy."""
    if len(model.queued) + len(model.served) + len(model.running) < bounds.requests:
        for place in range(len(bounds.routes)):
            yield "want", place, False
            if bounds.may_need_fresh:
                yield "want", place, True
    yield from (("cancel", place, None) for place in range(len(model.queued) + len(model.served)))
    yield from (("use", place, None) for place in range(len(model.served)))
    yield from (("begin", place, None) for place in range(len(model.undialed())))
    for place, dial in enumerate(model.dials):
        yield "fail", place, None
        yield from (("open", place, capacity) for capacity in ((None, 2) if dial.record.route.may_share else (None,)))
    yield from (("release", place, is_reusable) for place in range(len(model.running)) for is_reusable in (True, False))
    yield from (("closed", place, None) for place in range(len(model.open_entries())))
    for place, entry in enumerate(model.shared_entries()):
        yield "retire", place, None
        yield "broken", place, None
        yield "resized", place, 1 if entry.capacity > 1 else 2
    if any(entry.life is Life.IDLE for entry in model.open_entries()):
        yield "close idle", 0, None


def perform(model: PoolModel, action: Action, bounds: Bounds) -> None:
    state = model.driver.state
    match action:
        case "want", place, bool(needs_fresh):
            model.want(bounds.routes[place], needs_fresh)
        case "cancel", place, _:
            model.cancel((model.queued + model.served)[place])
        case "use", place, _:
            model.use(model.served[place])
        case "begin", place, _:
            model.begin(model.undialed()[place])
        case "fail", place, _:
            model.fail(model.dials[place])
        case "open", place, capacity:
            model.open(model.dials[place], capacity)
        case "release", place, is_reusable:
            model.release(model.running[place], bool(is_reusable))
        case "closed", place, _:
            state.closed(model.open_entries()[place])
        case "retire", place, _:
            state.retire(model.shared_entries()[place])
        case "broken", place, _:
            state.broken(model.shared_entries()[place])
        case "resized", place, int(capacity):
            state.resized(model.shared_entries()[place], capacity)
        case _:
            state.close_idle()


def shape(model: PoolModel, routes: tuple[Route, ...]) -> Hashable:
    """What tells one state from another: not which request or connection has which name, nor what has been counted."""
    state = model.driver.state
    names: dict[object, int] = {}

    def name(thing: object) -> int:
        return names.setdefault(thing, len(names))

    def traits(entry: Entry[Connection]) -> Hashable:
        route = routes.index(entry.record.route)
        if entry.life is Life.CLOSED:
            return route, "gone"
        if entry.life is Life.OPENING:
            return route, "opening", entry.is_adopted, entry.is_dialed, entry.dialer and name(entry.dialer)
        is_shared = entry in model.shared
        return route, entry.life.value, entry.reserved, entry.requests > 0, entry.capacity, entry.is_retiring, is_shared

    def named(entry: Entry[Connection] | None) -> Hashable:
        return None if entry is None else (name(entry), traits(entry)) if entry.life is not Life.CLOSED else "gone"

    def of(record: Record[Connection] | None) -> Hashable:
        if record is None:
            return None
        queues = tuple(
            (tuple((name(waiter), named(waiter.opening)) for waiter in queue.waiters), tuple(map(name, queue.undialed)))
            for queue in (record.queue, record.fresh_queue)
        )
        places = tuple(tuple(map(named, place)) for place in (record.idle, record.shared, record.detached))
        return record.is_shared, queues, places, record in model.renewed

    records = {record.route: record for record in state.records()}
    running = sorted((request.entry for request in model.running if request.entry), key=lambda held: repr(traits(held)))
    return (
        tuple(of(records.get(wanted)) for wanted in routes),
        tuple(routes.index(record.route) for record in state._hungry),
        tuple(map(named, state._idle)),
        tuple((name(request.waiter), named(request.opening)) for request in model.queued),
        tuple((named(request.entry), request.entry and traits(request.entry)) for request in model.served),
        tuple((named(held), traits(held)) for held in running),
    )


def search(bounds: Bounds) -> tuple[int, int]:
    """How many states there are, and how many steps between them."""
    first = PoolModel(Limits(max_connections=bounds.connections), bounds.dials_inline)
    seen = {shape(first, bounds.routes)}
    level = [pickle.dumps(first)]
    steps = 0
    while level:
        following: list[bytes] = []
        for stored in level:
            for action in actions(pickle.loads(stored), bounds):
                model: PoolModel = pickle.loads(stored)
                steps += 1
                perform(model, action, bounds)
                settle(model)
                key = shape(model, bounds.routes)
                if key not in seen:
                    seen.add(key)
                    following.append(pickle.dumps(model))
                    close(pickle.loads(following[-1]))
        level = following
    return len(seen), steps


def settle(model: PoolModel) -> None:
    """Check what holds, and forget what is over, so that states with another past are the same."""
    model.driver.close_doomed()
    model.look()
    for dial in [dial for dial in model.dials if dial.life is Life.CLOSED]:
        model.open(dial, None)  # it ends too late, and must change nothing
        model.look()
    forget(model)


def forget(model: PoolModel) -> None:
    kept = {
        *model.driver.state.entries(),
        *(r.entry for r in [*model.queued, *model.served, *model.running] if r.entry),
    }
    model.entries = {entry: None for entry in model.entries if entry in kept}
    model.driver.doomed = [entry for entry in model.driver.doomed if entry in kept]
    model.failed &= kept
    model.shared &= kept
    model.used &= kept
    alive: set[Request] = {*model.queued}
    model.seen = {request: given for request, given in model.seen.items() if request in alive}
    model.wakes = {request: count for request, count in model.wakes.items() if request in alive}
    model.opened.clear()
    for record in model.driver.state.records():
        of_record = [entry for entry in model.entries if entry.record is record]
        record.opened = 0
        record.retried = 0
        record.reused = sum(max(entry.requests - 1, 0) for entry in of_record)
        record.closed.clear()
        for entry in of_record:
            if entry.life is Life.CLOSED:
                record.closed[entry.close_reason] += 1


def close(model: PoolModel) -> None:
    """From wherever it is, closing leaves nobody waiting and nothing open."""
    model.driver.state.close()
    model.driver.close_doomed()
    model.look()
    assert not model.queued
    assert not model.driver.state.entries()


# What the test visits in a few seconds; HTTPCORE_SEARCH=full takes the time that three of everything take.
REQUESTS, CONNECTIONS = (3, 3) if os.environ.get("HTTPCORE_SEARCH") == "full" else (2, 2)


@pytest.mark.parametrize(
    "bounds",
    [
        pytest.param(Bounds(tuple(LENT), REQUESTS, CONNECTIONS), id="lent"),
        pytest.param(Bounds(tuple(SHARED), REQUESTS, CONNECTIONS - 1), id="shared"),
        pytest.param(Bounds(tuple(LENT), REQUESTS, 1, dials_inline=True), id="lent, in blocking code"),
    ],
)
def test_every_state_that_can_be_reached_keeps_the_rules(bounds: Bounds, capsys: pytest.CaptureFixture[str]) -> None:
    states, steps = search(bounds)

    with capsys.disabled():
        print(f"\n{states:,} states, {steps:,} steps: {bounds.requests} requests, {bounds.connections} connections")
    assert states > 50
