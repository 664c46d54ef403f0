"""Nothing hangs: a test that passes its time limit shows where every thread is, and fails.

On asyncio and trio a world cancels the body first, so that the error shows where it waited. What is stuck in plain code
(blocking sockets, a lock) is interrupted two seconds later by a signal. What even that does not wake is ended, with the
whole run, by pytest's own `faulthandler_timeout`.
"""

from __future__ import annotations

import faulthandler
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from .worlds import Hung

# The descriptor: that is what pytest captures and shows with the failure.
_STDERR = 2

# So that where a world can cancel, it is the world that does.
_GRACE = 2.0


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Interrupt what runs longer. Only in the main thread, and where there are signals."""
    if not hasattr(signal, "SIGALRM") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(signum: int, frame: FrameType | None) -> None:
        faulthandler.dump_traceback(file=_STDERR, all_threads=True)
        raise Hung(f"the test took more than {seconds} s; where every thread was is on stderr")

    previous = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds + _GRACE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
