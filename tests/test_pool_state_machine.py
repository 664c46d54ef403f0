"""Anything may happen to a pool, in any order; these things hold after each step."""

from __future__ import annotations

import sys
from typing import TypeVar

import pytest
from hypothesis import settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from httpcore._config import Limits
from httpcore._pool_state import Life
from httpcore._route import Route
from tests.support.pool_driver import route
from tests.support.pool_model import PoolModel

T = TypeVar("T")

A, B, C = route("a"), route("b"), route("c")
# The first dial of these tells whether their connections are shared.
D, E = route("d", may_share=True), route("e", may_share=True)
# Few enough for requests to meet, enough for turns.
ROUTES = strategies.sampled_from([[A], [D], [A, B], [A, D], [D, E], [A, B, C, D]])

LIMITS = strategies.builds(
    Limits,
    max_connections=strategies.sampled_from([2, 3, 1, 5, None]),
    max_connections_per_origin=strategies.sampled_from([None, 1, 2]),
    max_keepalive_connections=strategies.sampled_from([None, 0, 1, 2]),
    keepalive_expiry=strategies.sampled_from([5.0, None]),
    max_connection_age=strategies.sampled_from([None, 20.0]),
    max_requests_per_connection=strategies.sampled_from([None, 1, 3]),
)

# Of a connection that was opened: None is lent. Those that HTTP/2 allows none for now are there too.
CAPACITIES = strategies.sampled_from([None, 2, 3, 1, 0])
ENDS = [None, None, "one", "expired", "all idle"]


class Pool(RuleBasedStateMachine):
    """Drives a `PoolModel` at random."""

    model: PoolModel
    routes: list[Route]
    may_need_fresh: bool
    ending: str

    @initialize(
        limits=LIMITS,
        routes=ROUTES,
        may_need_fresh=strategies.booleans(),
        is_prompt=strategies.booleans(),
        dials_inline=strategies.booleans(),
        ending=strategies.sampled_from(["settle", "drain", "close"]),
    )
    def start(
        self,
        limits: Limits,
        routes: list[Route],
        may_need_fresh: bool,
        is_prompt: bool,
        dials_inline: bool,
        ending: str,
    ) -> None:
        self.routes = routes
        self.may_need_fresh = may_need_fresh
        self.model = PoolModel(limits, dials_inline, is_prompt)
        self.ending = ending

    # What happens.

    # Each rule is left out of about half of the runs, so few rules with many ways reach further than many rules.

    @rule(
        data=strategies.data(),
        count=strategies.sampled_from([1, 1, 2]),
        needs_fresh=strategies.sampled_from([False, False, True]),
        opens_at_once=strategies.booleans(),
        capacity=CAPACITIES,
    )
    def want(
        self, data: strategies.DataObject, count: int, needs_fresh: bool, opens_at_once: bool, capacity: int | None
    ) -> None:
        model, route = self.model, data.draw(strategies.sampled_from(self.routes))
        for _ in range(count):
            request = model.want(route, needs_fresh and self.may_need_fresh)
            model.look()
            if request.opening is not None and opens_at_once:
                if not request.opening.is_dialed:
                    model.begin(request)
                model.open(request.opening, capacity)
                model.look()

    @precondition(lambda self: self.model.queued or self.model.served)
    @rule(data=strategies.data())
    def cancel(self, data: strategies.DataObject) -> None:
        self.model.cancel(self._take(data, self.model.queued + self.model.served))

    @precondition(lambda self: self.model.served or self.model.undialed())
    @rule(data=strategies.data())
    def wake_up(self, data: strategies.DataObject) -> None:
        model = self.model
        request = self._take(data, model.served + model.undialed())
        if request in model.served:
            model.use(request)
        else:
            model.begin(request)

    @precondition(lambda self: self.model.dials)
    @rule(data=strategies.data(), is_well=strategies.sampled_from([True, True, False]), capacity=CAPACITIES)
    def end_dial(self, data: strategies.DataObject, is_well: bool, capacity: int | None) -> None:
        entry = self._take(data, self.model.dials)
        if is_well:
            self.model.open(entry, capacity)
        else:
            self.model.fail(entry)

    @precondition(lambda self: self.model.running)
    @rule(
        data=strategies.data(),
        count=strategies.integers(1, 3),
        is_reusable=strategies.sampled_from([True, True, False]),
        keepalive=strategies.sampled_from([None, None, 0.0, 3.0]),
    )
    def release(self, data: strategies.DataObject, count: int, is_reusable: bool, keepalive: float | None) -> None:
        for _ in range(min(count, len(self.model.running))):
            self.model.release(self._take(data, self.model.running), is_reusable, keepalive)
            self.model.look()

    @precondition(lambda self: self.model.shared_entries())
    @rule(data=strategies.data(), capacity=strategies.sampled_from([None, 0, 1, 2, 3]))
    def resize_or_retire(self, data: strategies.DataObject, capacity: int | None) -> None:
        driver, entry = self.model.driver, self._take(data, self.model.shared_entries())
        if capacity is None:
            driver.state.retire(entry)
        else:
            driver.state.resized(entry, capacity)
        driver.close_doomed()

    @precondition(lambda self: self.model.open_entries())
    @rule(data=strategies.data(), seconds=strategies.sampled_from([1.0, 4.0, 10.0]), ends=strategies.sampled_from(ENDS))
    def pass_time(self, data: strategies.DataObject, seconds: float, ends: str | None) -> None:
        driver = self.model.driver
        state = driver.state
        driver.now += seconds
        if ends == "one":  # where it is in use, the request that uses it will find out
            state.closed(self._take(data, self.model.open_entries()))
        elif ends == "expired":
            state.expire(driver.now)
            soonest = state.soonest_expiry()
            assert soonest is None or soonest > driver.now
        elif ends == "all idle":
            state.close_idle()
            assert not any(entry.life is Life.IDLE for entry in state.entries())
        driver.close_doomed()

    def teardown(self) -> None:
        """However it went, it ends: nobody waits for ever, nothing stays open or is in two places."""
        if not hasattr(self, "model") or sys.exception() is not None:
            return  # there is a failure to be seen, and not to be covered by another
        model, state = self.model, self.model.driver.state
        if self.ending != "settle":
            state.drain() if self.ending == "drain" else state.close()
            model.driver.close_doomed()
            model.look()
            assert not model.queued, "closing has left somebody waiting"
        for _ in range(1_000):
            if not (model.queued or model.served or model.running or model.dials):
                break
            model.wake_up()
            while model.running:
                model.release(model.running[-1])
                model.look()
            model.wake_up()
            while model.dials:
                model.open(model.dials[-1], None)
                model.look()
        else:
            pytest.fail("somebody waits for ever")
        assert all(entry.life is Life.IDLE for entry in state.entries())
        assert self.ending == "settle" or not state.total
        state.close()
        model.driver.close_doomed()
        model.look()
        assert not state.entries()

    # What holds.

    @invariant()
    def look(self) -> None:
        if hasattr(self, "model"):
            self.model.look()

    def _take(self, data: strategies.DataObject, items: list[T]) -> T:
        return data.draw(strategies.sampled_from(items))


# Enough to find each fault that it was tried on, in a few seconds.
TestPool = Pool.TestCase
TestPool.settings = settings(max_examples=200, stateful_step_count=60)
# A failure is made as short as possible before it is shown.
pytestmark = pytest.mark.time_limit(300)
