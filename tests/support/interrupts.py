"""KeyboardInterrupt wherever Python may raise it.

CPython looks for signals when a function begins, when a loop jumps back, and after a call of a function that is written
in C. `interrupting(at, directory)` raises at the n-th such point that the code in a directory passes.
"""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

_BEGIN, _JUMP_BACK = dis.opmap["RESUME"], dis.opmap["JUMP_BACKWARD"]
_CALLS = {dis.opmap[name] for name in ("CALL", "CALL_KW", "CALL_FUNCTION_EX") if name in dis.opmap}

Trace = Callable[[FrameType, str, Any], Any]


class Interrupt:
    """Args: at: at which point, from 0 on; directory: where the code is that counts.

    Attributes:
        place: where it was raised; None where the code did not come so far.
    """

    def __init__(self, at: int, directory: Path) -> None:
        self.place: str | None = None
        self._left = at
        self._directory = str(directory)
        self._previous: dict[FrameType, int | None] = {}
        self._has_called_python: set[FrameType] = set()

    def enter(self, frame: FrameType, event: str, argument: Any) -> Trace | None:
        if frame.f_back is not None:
            self._has_called_python.add(frame.f_back)
        if not frame.f_code.co_filename.startswith(self._directory):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        self._previous[frame] = None
        return self._look

    def _look(self, frame: FrameType, event: str, argument: Any) -> Trace:
        if event == "return":
            self._previous.pop(frame, None)
        elif event == "opcode":
            previous = self._previous.get(frame)
            self._previous[frame] = frame.f_code.co_code[frame.f_lasti]
            is_after_c = previous in _CALLS and frame not in self._has_called_python
            self._has_called_python.discard(frame)
            if is_after_c or previous in (_BEGIN, _JUMP_BACK):
                self._count(frame)
        return self._look

    def forget(self) -> None:
        """Let go of the frames, which hold whatever the code had in its hands."""
        self._previous.clear()
        self._has_called_python.clear()

    def _count(self, frame: FrameType) -> None:
        self._left -= 1
        if self._left == -1:
            self.place = f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_qualname}"
            sys.settrace(None)
            raise KeyboardInterrupt


@contextmanager
def interrupting(at: int, directory: Path) -> Iterator[Interrupt]:
    interrupt = Interrupt(at, directory)
    sys.settrace(interrupt.enter)
    try:
        yield interrupt
    finally:
        sys.settrace(None)
        interrupt.forget()
