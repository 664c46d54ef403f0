"""Carries out scenarios: every entrant has its turn in each round, and who begins changes."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from . import imports
from .orders import Order, Sample
from .results import Figure, Outcome, compare
from .scenarios import IMPORT, Scenario, cpu_a_request
from .server import SIZES, Server
from .team import Entrant, Place, Worker, working


@dataclass(frozen=True)
class Effort:
    """How much of it."""

    rounds: int
    seconds: float
    """Of each turn."""
    fresh_rounds: int
    """Rounds where each turn wants a new process; these take as long as they take."""


def measure(scenario: Scenario, place: Place, server: Server, effort: Effort) -> Outcome:
    if scenario.name == IMPORT.name:
        labels = {row.ours for row in scenario.rows}
        figures = imports.measure(place, effort.rounds, labels)
        told = [Figure(label, statistics.median(values), "ms", None, None) for label, values in figures.items()]
        return Outcome(scenario, compare(scenario, figures), tuple(told))
    samples = _fresh(scenario, place, server, effort) if scenario.is_fresh else _kept(scenario, place, server, effort)
    return _outcome(scenario, samples)


def order_for(scenario: Scenario, entrant: Entrant, server: Server, seconds: float) -> Order:
    return Order(
        scenario.task,
        _origin(scenario, entrant, server) + scenario.path,
        at_once=entrant.at_once,
        seconds=seconds,
        warm_up=min(scenario.warm_up, seconds / 2),
        is_slow=scenario.is_slow,
        size=scenario.size,
    )


def _origin(scenario: Scenario, entrant: Entrant, server: Server) -> str:
    if entrant.is_http2:
        assert server.http2 is not None
        return server.http2
    if any(entrant.is_tunnelled for entrant in scenario.entrants):
        return server.tunnelled
    if scenario.path in SIZES:
        return server.bulk
    return server.https if scenario.is_secure else server.http


def _kept(scenario: Scenario, place: Place, server: Server, effort: Effort) -> dict[str, list[Sample]]:
    samples: dict[str, list[Sample]] = {entrant.label: [] for entrant in scenario.entrants}
    with working(scenario.entrants, place) as workers:
        team = list(zip(scenario.entrants, workers, strict=True))
        for entrant, worker in team:
            # Before the first round, so that connecting and compiling are in nobody's turn.
            with _counted(entrant, server):
                worker.obey(order_for(scenario, entrant, server, scenario.warm_up))
        for number in range(effort.rounds):
            _tell(scenario, number, effort.rounds)
            for entrant, worker in _rotated(team, number):
                samples[entrant.label].append(worker.obey(order_for(scenario, entrant, server, effort.seconds)))
    return samples


@contextmanager
def _counted(entrant: Entrant, server: Server) -> Iterator[None]:
    """Make sure that a client of HTTP/2 takes one connection, as all others do; the server sees to HTTP/2 itself."""
    before = server.connections() if entrant.is_http2 else 0
    yield
    # One of them has asked.
    if entrant.is_http2 and (count := server.connections() - before - 1) != 1:
        raise RuntimeError(f"{entrant.label} made {count} connections, where one is to be compared with one")


def _fresh(scenario: Scenario, place: Place, server: Server, effort: Effort) -> dict[str, list[Sample]]:
    samples: dict[str, list[Sample]] = {entrant.label: [] for entrant in scenario.entrants}
    for number in range(effort.fresh_rounds):
        _tell(scenario, number, effort.fresh_rounds)
        for entrant in scenario.entrants:
            with working([entrant], place) as (worker,):
                # One small exchange, after which everything is loaded that a download needs.
                worker.obey(Order("rate", f"{server.http}/small", seconds=0.001, warm_up=0.0))
                samples[entrant.label].append(worker.obey(order_for(scenario, entrant, server, effort.seconds)))
    return samples


def _rotated(team: Sequence[tuple[Entrant, Worker]], number: int) -> list[tuple[Entrant, Worker]]:
    first = number % len(team)
    return [*team[first:], *team[:first]]


def _outcome(scenario: Scenario, samples: Mapping[str, Sequence[Sample]]) -> Outcome:
    figures = {label: [scenario.figure(sample) for sample in taken] for label, taken in samples.items()}
    cpu = {label: statistics.median(map(cpu_a_request, taken)) for label, taken in samples.items()}
    told = []
    for label, taken in samples.items():
        busy = statistics.median(sample.cpu / sample.wall for sample in taken)
        beside = None if scenario.figure is cpu_a_request else cpu[label]
        told.append(Figure(label, scenario.summary(figures[label]), scenario.unit, beside, busy))
    return Outcome(scenario, compare(scenario, figures, cpu), tuple(told))


def _tell(scenario: Scenario, number: int, rounds: int) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{scenario.name}: round {number + 1} of {rounds}", end="", file=sys.stderr, flush=True)


def forget_told() -> None:
    """Leave the line of the progress empty."""
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr, flush=True)


@dataclass
class Profiled:
    """Two profiles of one entrant, and what a request cost without them."""

    plain: Sample
    time: str
    calls: str


def profile(scenario: Scenario, entrant: Entrant, place: Place, server: Server, seconds: float) -> Profiled:
    order = order_for(scenario, entrant, server, seconds)
    with ExitStack() as stack:
        (worker,) = stack.enter_context(working([entrant], place))
        plain = worker.obey(order)
        time = worker.obey(order.profiled("time"))
        calls = worker.obey(order.profiled("calls"))
    return Profiled(plain, time.text, calls.text)
