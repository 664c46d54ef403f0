"""The file of what was measured, `results.json`.

    date: of the measuring.
    clients: by name, `version`; how many `cases` were `measured` and `passed`; and the same of `rows`.
    outcomes: the words that occur, and what they mean.
    cases: by id, the `row` of the list of faults that it belongs to, and the `outcomes`, by client.

A row is passed where all of its cases are. A client that has no outcome in a case was not measured there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .judging import MEANINGS, PASS

PATH = Path(__file__).with_name("results.json")


@dataclass(frozen=True)
class Measured:
    """What one case came to.

    Args:
        row: that it belongs to.
        outcomes: by client.
    """

    row: str
    outcomes: Mapping[str, str]


@dataclass(frozen=True)
class Results:
    """All that was measured.

    Args:
        date: of the measuring, as in 2026-11-21.
        versions: of the clients, by name.
        cases: by id.
    """

    date: str
    versions: Mapping[str, str]
    cases: Mapping[str, Measured]

    def text(self) -> str:
        clients = {name: {"version": version, **self.counts(name)} for name, version in self.versions.items()}
        cases = {id: {"row": case.row, "outcomes": dict(case.outcomes)} for id, case in self.cases.items()}
        content = {"date": self.date, "clients": clients, "outcomes": MEANINGS, "cases": cases}
        return json.dumps(content, indent=1, sort_keys=True) + "\n"

    def counts(self, client: str) -> dict[str, dict[str, int]]:
        cases = {id: case.outcomes[client] == PASS for id, case in self.cases.items() if client in case.outcomes}
        rows: dict[str, bool] = {}
        for id, is_passed in cases.items():
            row = self.cases[id].row
            rows[row] = rows.get(row, True) and is_passed
        return {
            "cases": {"measured": len(cases), "passed": sum(cases.values())},
            "rows": {"measured": len(rows), "passed": sum(rows.values())},
        }

    def with_others(self, other: Results) -> Results:
        """What was measured anew, and of what was not, the old."""
        cases = dict(self.cases)
        for id, case in other.cases.items():
            old = cases[id].outcomes if id in cases else {}
            cases[id] = Measured(case.row, {**old, **case.outcomes})
        return Results(other.date, {**self.versions, **other.versions}, cases)


def load(path: Path = PATH) -> Results:
    content = json.loads(path.read_text())
    return Results(
        content["date"],
        {name: client["version"] for name, client in content["clients"].items()},
        {id: Measured(case["row"], case["outcomes"]) for id, case in content["cases"].items()},
    )
