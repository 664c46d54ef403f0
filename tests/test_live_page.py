"""The page on which a visitor tries the library in a browser: alone, and in the documentation that has it inside.

With HTTPCORE_SCREENSHOT=1 the picture in the documentation is taken anew.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.pyodide.runtimes import FOLDER, commands

_ROOT = FOLDER.parents[2]
_PICTURE = _ROOT / "docs" / "live.png"
# Nobody else's, so that its port is free.
_DOCS_HOST = f"127.8.{os.getpid() // 250 % 250}.{os.getpid() % 250 + 1}"

pytestmark = [
    pytest.mark.time_limit(400),  # Python starts twice in it, and the documentation is built
    pytest.mark.skipif(
        "chromium" not in commands() and "CI" not in os.environ, reason="Chromium with Pyodide is not installed"
    ),
]


@contextmanager
def running(command: Sequence[str], sign: str) -> Iterator[str]:
    """A server, and the rest of the line in which it says that it is ready."""
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, cwd=_ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            assert process.stdout is not None
            said = []
            for line in process.stdout:
                said.append(line)
                if sign in line:
                    yield line.partition(sign)[2].strip()
                    break
            else:
                pytest.fail(f"it did not start:\n{''.join(said)}")
        finally:
            process.terminate()


def visit(url: str, *picture: str) -> dict[str, Any]:
    node, _, _, chromium = commands()["chromium"]
    click = [node, str(FOLDER / "click.mjs"), chromium, url, *picture]
    done = subprocess.run(click, cwd=FOLDER, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def assert_it_runs(said: dict[str, Any]) -> None:
    assert said["errors"] == []
    assert said["isolated"]
    for place in ("worker", "page"):
        assert "200 hello" in said["outputs"][f"async in {place}"]
        assert "part 0\npart 1\npart 2\npart 3\npart 4" in said["outputs"][f"async in {place}"]
        assert "sent by jspi" in said["outputs"][f"blocking in {place}"]
        waited = re.match(r"([0-9.]+) s: the server sent nothing in time", said["outputs"][f"a timeout in {place}"])
        assert waited, said
        assert float(waited[1]) >= 0.5


def test_a_visitor_tries_the_library_in_the_page() -> None:
    picture = [str(_PICTURE)] if "HTTPCORE_SCREENSHOT" in os.environ else []
    with running([sys.executable, str(_ROOT / "examples" / "pyodide" / "serve.py"), "0"], "http://") as address:
        assert_it_runs(visit(f"http://{address}", *picture))


def test_a_visitor_tries_the_library_in_the_documentation() -> None:
    serve = [sys.executable, "-m", "mkdocs", "serve", "--strict", "--dev-addr", f"{_DOCS_HOST}:8000"]
    with running(serve, "Serving on "):
        assert_it_runs(visit(f"http://{_DOCS_HOST}:8000/pyodide.html"))
    assert Path(_PICTURE).read_bytes().startswith(b"\x89PNG")
