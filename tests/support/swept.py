"""How many points the sweeps have: each tells, and the end of a run says how many they were in all.

    swept("cancel", await sweep(world, once))

A run of all tests that has fewer than `LEAST` fails. `--write-sweeps PATH` writes a table of them, by scene and story.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

__all__ = ["COLUMNS", "KINDS", "Swept", "pytest_addoption"]

LEAST = 2_000
# What differs between asyncio and uvloop lies below where connections are made to fail.
_FAILING = ("asyncio", "trio", "blocking")
KINDS = {
    "cancel": ("asyncio", "uvloop", "trio"),
    "error": _FAILING,
    "timeout": _FAILING,
    "end": _FAILING,
    "interrupt": ("blocking",),
}
"""What goes wrong, and in which worlds."""
COLUMNS = ("scene", "story", *KINDS)
_PROPERTY = "swept"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-sweeps", type=Path, metavar="PATH", help="write a table of the points of all sweeps")


class Swept:
    """A plugin. In a process of xdist's the points travel with the reports of the tests."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._points: Counter[tuple[str, str, str]] = Counter()
        self._are_too_few = False

    @pytest.fixture
    def swept(self, request: pytest.FixtureRequest) -> Callable[[str, str, str, int], None]:
        """Call it with scene, story, kind and number of points."""

        def add(scene: str, story: str, kind: str, points: int) -> None:
            assert kind in KINDS
            request.node.user_properties.append((_PROPERTY, (scene, story, kind, points)))

        return add

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            for name, value in report.user_properties:
                if name == _PROPERTY:
                    self._add(value)

    def _add(self, value: Any) -> None:
        scene, story, kind, points = value
        self._points[scene, story, kind] += points

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        self._are_too_few = self._is_controller and self._is_of_all(session) and self._points.total() < LEAST
        if self._are_too_few:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: TerminalReporter) -> None:
        if not self._is_controller or not (self._points or self._are_too_few):
            return
        stories = {(scene, story) for scene, story, _ in self._points}
        terminalreporter.write_line(f"swept {self._points.total():,} points in {len(stories)} stories")
        if self._are_too_few:
            terminalreporter.write_line(f"FAILED: all tests together sweep at least {LEAST:,} points")
        if (path := self._config.getoption("--write-sweeps")) is not None:
            self._write(path)

    @property
    def _is_controller(self) -> bool:
        return not hasattr(self._config, "workerinput")

    def _is_of_all(self, session: pytest.Session) -> bool:
        """Whether nothing was left out, and nothing broke off."""
        options = ("keyword", "markexpr", "deselect", "ignore", "ignore_glob", "lf", "collectonly")
        chosen = [self._config.getoption(name, None) for name in options]
        is_whole = self._config.args_source is pytest.Config.ArgsSource.TESTPATHS and not any(chosen)
        return is_whole and session.exitstatus == pytest.ExitCode.OK

    def _write(self, path: Path) -> None:
        with path.open("w", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(COLUMNS)
            for scene, story in sorted({(scene, story) for scene, story, _ in self._points}):
                table.writerow([scene, story, *(self._points[scene, story, kind] for kind in KINDS)])
