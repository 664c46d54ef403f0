"""From figures to rows: ratios of medians, their spread, and what they are worth."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from .scenarios import Row, Scenario

# With fewer rounds there is no middle half to speak of.
_ENOUGH_FOR_QUARTILES = 4


class Verdict(Enum):
    AIM = "aim reached"
    WANTED = "promise kept"
    SHORT = "falls short"
    NONE = ""


@dataclass(frozen=True)
class Result:
    """What a row came to."""

    scenario: Scenario
    row: Row
    value: float
    """A ratio, or a figure in the unit of the scenario where the row has no other side."""
    low: float
    high: float
    """Between these lies the middle half of the rounds; with few rounds, all of them."""
    by_cpu: float | None
    """Their CPU per request over ours, where the ratio is of something else: a busy machine spoils this one less."""

    @property
    def is_ratio(self) -> bool:
        return self.row.other is not None

    @property
    def verdict(self) -> Verdict:
        row = self.row
        if row.wanted is None or row.aim is None:
            return Verdict.NONE
        if self._reaches(row.aim):
            return Verdict.AIM
        return Verdict.WANTED if self._reaches(row.wanted) else Verdict.SHORT

    def _reaches(self, bound: float) -> bool:
        # As precise as it is shown: who reads 2.00 next to 2.00 must not read "falls short".
        value, bound = round(self.value, 2), round(bound, 2)
        return value <= bound if self.scenario.is_less_better else value >= bound


@dataclass(frozen=True)
class Figure:
    """What one entrant did, for orientation."""

    label: str
    value: float
    unit: str
    cpu: float | None
    """µs of CPU a request, where it is not the figure itself."""
    busy: float | None
    """The share of its core it had: where that is far from 1, the server or the machine was what one waited for."""


@dataclass(frozen=True)
class Outcome:
    """What a scenario came to."""

    scenario: Scenario
    results: tuple[Result, ...]
    figures: tuple[Figure, ...]


def compare(
    scenario: Scenario, figures: Mapping[str, Sequence[float]], cpu: Mapping[str, float] | None = None
) -> tuple[Result, ...]:
    """Rows from the figures of each entrant, round by round, and from the CPU it took for a request."""
    return tuple(_result(scenario, row, figures, cpu or {}) for row in scenario.rows)


def _result(scenario: Scenario, row: Row, figures: Mapping[str, Sequence[float]], cpu: Mapping[str, float]) -> Result:
    ours = figures[row.ours]
    if row.other is None:
        return Result(scenario, row, scenario.summary(ours), *_spread(ours), by_cpu=None)
    other = figures[row.other]
    value = scenario.summary(ours) / scenario.summary(other)
    low, high = _spread([one / two for one, two in zip(ours, other, strict=True)])
    # Where less is better the figure is CPU already.
    by_cpu = None if scenario.is_less_better else cpu[row.other] / cpu[row.ours]
    return Result(scenario, row, value, low, high, by_cpu)


def _spread(values: Sequence[float]) -> tuple[float, float]:
    if len(values) < _ENOUGH_FOR_QUARTILES:
        return min(values), max(values)
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high
