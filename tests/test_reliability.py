"""Every row of the catalogue of faults has tests, and docs/reliability.md says of each what they are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.faults import FAULTS, SECTIONS
from tests.support.reliability import complaints

_TESTS = Path(__file__).parent


def is_whole(session: pytest.Session) -> bool:
    """Whether all tests were collected."""
    options = session.config.option
    if options.keyword or options.markexpr or options.deselect or any("::" in name for name in session.config.args):
        return False
    return {item.path for item in session.items} == set(_TESTS.glob("test_*.py"))


@pytest.mark.time_limit(300)  # where it collects all tests itself
def test_every_row_has_tests_and_the_page_says_which(request: pytest.FixtureRequest) -> None:
    if is_whole(request.session):
        assert complaints(request.session.items) == []
        return
    collect = [sys.executable, "-m", "pytest", str(_TESTS), "--collect-only", "-q", "--reliability=check"]
    done = subprocess.run(collect, capture_output=True, text=True, timeout=280, cwd=_TESTS.parent)
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]


def test_rows_are_of_their_sections_and_say_where_they_are_held() -> None:
    assert "".join(SECTIONS) == "ABCDEFGHIJLMN"
    for fault in FAULTS.values():
        assert fault.id.startswith(f"{fault.section.lower()}_")
        assert fault.pool in ("K", "C", "S", "D", "N", "-")
    assert sum(fault.is_neighbour for fault in FAULTS.values()) >= 24
