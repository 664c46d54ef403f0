"""`python -m fuzz TARGET SECONDS FINDINGS`: search one target by coverage. An input that fails is left in FINDINGS."""

from __future__ import annotations

import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import atheris

from .targets import Target, load

_SEARCHED = ["httpcore", "h11", "h2", "hpack", "hyperframe", "idna"]
# What one input may take, which is much more than any takes on a busy machine, and what a process may hold: a search
# that keeps its corpus comes to 150 MB.
_SECONDS_AN_INPUT = 10
_MEGABYTES = 1024
_LONGEST = 4096


def _checking(target: Target, finding: Path) -> Callable[[bytes], None]:
    def check(data: bytes) -> None:
        try:
            target.check(data)
        except BaseException:
            # At once: libFuzzer would do so at the end of the process, before which its own alarm may come.
            traceback.print_exc()
            finding.write_bytes(data)
            print(f"\nwritten to {finding}: {data!r}", flush=True)
            os._exit(1)

    return check


def main(name: str, seconds: str, findings: str) -> None:
    with atheris.instrument_imports(include=_SEARCHED, enable_loader_override=False):
        target = load(name)
        target.check(next(target.seeds()))  # some modules are imported by the first who needs them
    with tempfile.TemporaryDirectory(prefix=f"fuzz-{name}-") as corpus:
        for number, seed in enumerate(target.seeds()):
            (Path(corpus) / f"{number:04}").write_bytes(seed)
        options = {
            "max_total_time": seconds,
            "timeout": _SECONDS_AN_INPUT,
            "rss_limit_mb": _MEGABYTES,
            "max_len": _LONGEST,
            "artifact_prefix": f"{findings}/{name}-",
            "verbosity": 0,
            "print_final_stats": 1,
        }
        check = _checking(target, Path(findings) / f"{name}-{time.time_ns()}")
        atheris.Setup([sys.argv[0], *(f"-{key}={value}" for key, value in options.items()), corpus], check)
        atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
