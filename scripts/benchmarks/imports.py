"""What imports take: a new interpreter each time, with the import and without."""

from __future__ import annotations

import os
import subprocess
import sys

from .team import Place

# Each import takes a fraction of what a round of anything else does, and varies more.
_TIMES_AS_MANY_ROUNDS = 3

_OURS = {"httpcore": "import httpcore", "httpcore, ready": "import httpcore; httpcore.ConnectionPool()"}
_PEERS = {
    "aiohttp": "import aiohttp",
    "pyreqwest": "import pyreqwest.client",
    "httpcore2": "import httpcore2",
    "httpx": "import httpx",
    "urllib3": "import urllib3",
}


def measure(place: Place, rounds: int, labels: set[str]) -> dict[str, list[float]]:
    """Milliseconds beyond the bare interpreter's of the same round."""
    commands = [
        (python, {label: code for label, code in imports.items() if label in labels})
        for python, imports in ((place.ours, _OURS), (place.peers, _PEERS))
    ]
    figures: dict[str, list[float]] = {label: [] for _, imports in commands for label in imports}
    own_cores = os.sched_getaffinity(0) if sys.platform == "linux" else set()
    try:
        # Children start where their parent is.
        if place.core is not None:
            os.sched_setaffinity(0, {place.core})
        for number in range(rounds * _TIMES_AS_MANY_ROUNDS + 1):
            for python, imports in commands:
                bare = _milliseconds(python, "pass") if imports else 0.0
                for label, code in imports.items():
                    beyond = _milliseconds(python, code) - bare
                    # The first time writes bytecode and fills the page cache.
                    if number > 0:
                        figures[label].append(beyond)
    finally:
        if place.core is not None:
            os.sched_setaffinity(0, own_cores)
    return figures


def _milliseconds(python: str, code: str) -> float:
    """Of CPU: with files in the page cache that is all it takes, and others' work is not in it."""
    process = subprocess.Popen([python, "-I", "-c", code])
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, code)
    return (usage.ru_utime + usage.ru_stime) * 1e3
