"""What the figures were taken on."""

from __future__ import annotations

import datetime
import os
import platform
import ssl
import subprocess
import sys
import time
from pathlib import Path

_PEERS = (
    "aiohttp", "curl_cffi", "h2", "httpcore2", "httpx", "httpcore", "pycurl", "pyreqwest", "trio", "urllib3", "uvloop"
)  # fmt: skip
_OURS = ("h11", "h2", "httptools", "trio", "uvloop")
_ROOT = Path(__file__).parents[2]


def cores() -> list[int]:
    """The cores we may use; none where the system does not let one choose."""
    return sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else []


class Neighbours:
    """What share of the machine others took since this was made. Ours is what we started and what of it has ended."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._all, self._ours = _busy_seconds(), _our_seconds()

    def share(self) -> float | None:
        """None where the system does not say. What the kernel does for networking is nobody's, and left out."""
        busy = _busy_seconds()
        if busy is None or self._all is None:
            return None
        whole = (time.monotonic() - self._began) * (os.cpu_count() or 1)
        return max(0.0, busy - self._all - (_our_seconds() - self._ours)) / whole


def _busy_seconds() -> float | None:
    stat = Path("/proc/stat")
    if not stat.exists():
        return None
    user, nice, system = (int(ticks) for ticks in stat.read_text().split()[1:4])
    return (user + nice + system) / os.sysconf("SC_CLK_TCK")


def _our_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def describe() -> list[tuple[str, str]]:
    return [
        ("Date", datetime.date.today().isoformat()),
        ("Processor", f"{_processor()}, {os.cpu_count()} cores"),
        ("System", f"{platform.system()} {platform.release()}"),
        ("Python", f"{platform.python_implementation()} {platform.python_version()}, {ssl.OPENSSL_VERSION}"),
        ("httpcore", _commit()),
    ]


def our_versions() -> str:
    return _versions(sys.executable, _OURS)


def peer_versions(python: str) -> str:
    return _versions(python, _PEERS)


def _versions(python: str, names: tuple[str, ...]) -> str:
    code = "import importlib.metadata as m, sys; print(*(f'{n} {m.version(n)}' for n in sys.argv[1:]), sep=', ')"
    return subprocess.run([python, "-I", "-c", code, *names], capture_output=True, text=True, check=True).stdout.strip()


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _commit() -> str:
    """The commit that was measured, and whether the library had changes beyond it."""
    try:
        head = _git("rev-parse", "--short", "HEAD").strip()
        changes = _git("status", "--porcelain", "--", "httpcore").strip()
    except (OSError, subprocess.CalledProcessError):
        return "not from a git checkout"
    return f"commit {head}{' with changes' if changes else ''}"


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=_ROOT, capture_output=True, text=True, check=True).stdout
