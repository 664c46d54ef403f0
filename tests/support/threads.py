"""The same work in many threads at once."""

from __future__ import annotations

import threading
from collections.abc import Callable

__all__ = ["in_threads"]


def in_threads(count: int, work: Callable[[int], None], patience: float = 25) -> None:
    """Run `work(number)` in so many threads at once; what one of them raises is raised.

    Args:
        patience: seconds that each has to end in.
    """
    errors: list[BaseException] = []
    barrier = threading.Barrier(count)

    def run(number: int) -> None:
        try:
            barrier.wait()
            work(number)
        except BaseException as exc:
            errors.append(exc)

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(patience)
    assert not any(thread.is_alive() for thread in threads), "a deadlock"
    if errors:
        raise BaseExceptionGroup("threads failed", errors)
