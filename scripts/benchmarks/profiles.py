"""Where the time of a worker goes.

Two views, since neither tells all: a timer that looks every few milliseconds of CPU which function is running, which
slows nothing down and is right about time; and cProfile, which is right about calls, but charges small functions too
much.
An order asks for one of them. The warm-up is profiled too, so an order for calls should have none.
"""

from __future__ import annotations

import cProfile
import signal
import sysconfig
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import CodeType, FrameType

from .orders import Order, Sample

_ROOT = Path(__file__).parents[2]
# As often as the kernel looks, which for many is every 4 ms.
_INTERVAL = 0.001
_SHOWN = 30


class Profile:
    """Nothing, unless something was asked for."""

    def added_to(self, sample: Sample) -> Sample:
        return sample


class _Stacks(Profile):
    def __init__(self) -> None:
        self._own: Counter[CodeType] = Counter()
        self._total: Counter[CodeType] = Counter()
        self._lines: Counter[tuple[CodeType, int]] = Counter()
        self._looks = 0

    def look(self, _signal: int, frame: FrameType | None) -> None:
        if frame is None:
            return
        self._looks += 1
        self._own[frame.f_code] += 1
        self._lines[frame.f_code, frame.f_lineno] += 1
        seen: set[CodeType] = set()
        while frame is not None:
            seen.add(frame.f_code)
            frame = frame.f_back
        self._total.update(seen)

    def added_to(self, sample: Sample) -> Sample:
        looks = max(self._looks, 1)
        lines = ["   own  with callees  function"]
        for code, own in self._own.most_common(_SHOWN):
            lines.append(f"{own / looks:6.1%} {self._total[code] / looks:9.1%}      {_name(code)}")
        lines.append("\n   own  line")
        for (code, number), own in self._lines.most_common(_SHOWN):
            lines.append(f"{own / looks:6.1%}  {_place(code.co_filename)}:{number} in {code.co_qualname}")
        return replace(sample, text="\n".join(lines))


class _Calls(Profile):
    def __init__(self, profile: cProfile.Profile) -> None:
        self._profile = profile

    def added_to(self, sample: Sample) -> Sample:
        requests = max(sample.requests, 1)
        lines = ["calls a request   own µs a request   function"]
        entries = sorted(self._profile.getstats(), key=lambda entry: entry.inlinetime, reverse=True)
        for entry in entries[:_SHOWN]:
            name = entry.code if isinstance(entry.code, str) else _name(entry.code)
            lines.append(f"{entry.callcount / requests:15.2f} {entry.inlinetime / requests * 1e6:18.2f}   {name}")
        return replace(sample, text="\n".join(lines))


@contextmanager
def profiling(order: Order) -> Iterator[Profile]:
    """Profile what happens inside as the order says."""
    if order.profile == "time":
        stacks = _Stacks()
        signal.signal(signal.SIGPROF, stacks.look)
        signal.setitimer(signal.ITIMER_PROF, _INTERVAL, _INTERVAL)
        try:
            yield stacks
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
    elif order.profile == "calls":
        with cProfile.Profile() as profile:
            yield _Calls(profile)
    else:
        yield Profile()


def _name(code: CodeType) -> str:
    return f"{_place(code.co_filename)}:{code.co_firstlineno} {code.co_qualname}"


def _place(filename: str) -> str:
    """The file as one would import it, without where it is installed."""
    paths = sysconfig.get_paths()
    for folder in (paths["purelib"], paths["platlib"], paths["stdlib"], str(_ROOT)):
        filename = filename.removeprefix(f"{folder}/")
    return filename
