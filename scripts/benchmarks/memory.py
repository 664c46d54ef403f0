"""How much resident memory grows while a body is read, by a reader that may be slow."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
# Writing this there sets the peak back to what is in use; see proc_pid_clear_refs(5).
_RESET_PEAK = "5"


class Growth:
    """From now on: by how many bytes the peak passes what is in use now."""

    def __init__(self) -> None:
        if _CLEAR.exists():
            _CLEAR.write_text(_RESET_PEAK)
            self._before = _linux("VmRSS")
        else:
            self._before = _peak()

    def measure(self) -> int:
        return max(0, (_linux("VmHWM") if _CLEAR.exists() else _peak()) - self._before)


def _linux(field: str) -> int:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(f"{_STATUS} has no {field}")


def _peak() -> int:
    """The highest ever: all that other systems tell, and enough where memory has not been higher before."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class SlowReader:
    """Reads some times slower than loopback brings, and once not at all for long enough for everything to arrive."""

    _EVERY = 1 << 20
    _REST = 0.002
    _LONG_AFTER = 64 << 20
    _LONG_REST = 1.0

    def __init__(self) -> None:
        self._received = 0

    def rest(self, length: int) -> float:
        """How many seconds to rest after the next `length` bytes."""
        before, self._received = self._received, self._received + length
        if before < self._LONG_AFTER <= self._received:
            return self._LONG_REST
        return self._REST if before // self._EVERY != self._received // self._EVERY else 0.0
