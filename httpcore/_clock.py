"""The clock of one request: relative timeouts become absolute deadlines here, and nowhere else."""

from __future__ import annotations

import math
from collections.abc import Callable

from ._config import Timeout
from ._errors import HTTPCoreError, TimeoutException, TotalTimeout
from ._headers import NO_HEADERS, Headers, hide_secrets

__all__ = ["EARLY", "Clock"]

# Timers may fire early by this much: uvloop counts in whole milliseconds.
EARLY = 0.001


class Clock:
    """Deadlines of one request, and the phase it is in for the message of whatever goes wrong.

    Args:
        now: the monotonic clock of the world the request runs in, in seconds.
        timeout: how long each step may take.
        headers: of the request, whose secrets no message may show.
    """

    __slots__ = ("_headers", "now", "phase", "started", "timeout", "total")

    def __init__(self, now: Callable[[], float], timeout: Timeout, headers: Headers = NO_HEADERS) -> None:
        self._headers = headers
        self.now = now
        self.timeout = timeout
        self.started = now()
        self.total = math.inf if timeout.total is None else self.started + timeout.total
        self.phase = "preparing the request"

    def fork(self) -> Clock:
        """A clock for what goes on beside the request, a dial, with the same end and a phase of its own."""
        clock = Clock(self.now, self.timeout)
        clock.started, clock.total, clock.phase = self.started, self.total, self.phase
        return clock

    @property
    def is_over(self) -> bool:
        """Whether the total has passed."""
        return self.now() >= self.total - EARLY

    def deadline(self, seconds: float | None) -> float:
        """When a step that begins now and may take `seconds` must have ended; infinity where nothing bounds it."""
        if seconds is None:
            return self.total
        deadline = self.now() + seconds
        return deadline if deadline < self.total else self.total

    def explain(self, exc: HTTPCoreError, peer: str) -> TotalTimeout | None:
        """Add phase, peer and time to the message of `exc`.

        Returns: a `TotalTimeout` to be raised from it, where it was the total that passed.
        """
        hide_secrets(exc, self._headers)
        context = f"{self.phase}, {peer}, after {self.now() - self.started:.3f} s"
        if isinstance(exc, TimeoutException) and not isinstance(exc, TotalTimeout) and self.is_over:
            total = TotalTimeout(f"the total timeout of {self.timeout.total:g} s passed")
            total.request_sent = exc.request_sent
            total.explain(context)
            return total
        exc.explain(context)
        return None
