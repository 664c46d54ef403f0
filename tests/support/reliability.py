"""docs/reliability.md: written from a run of the tests, and held to what is collected.

`scripts/reliability` runs every test that holds a row of the catalogue (`faults.py`), and writes the page; a module in
which something failed holds nothing. With `scripts/reliability tests/test_x.py` what other modules came to stays, and
with `scripts/reliability foresee` it says what is held if all tests pass, which CI finds out. A test compares what was
recorded with what is collected: every row is there, and each place that the page names has tests, which CI runs.
"""

from __future__ import annotations

import csv
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from scripts.comparison import results
from scripts.comparison.judging import PASS

from .faults import FAULTS, SECTIONS, Fault, Place, held_by, places
from .pool_search import SEARCHES
from .swept import KINDS

__all__ = ["PLUGINS", "complaints", "properties"]

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
RECORD = PAGE.with_suffix(".json")
_SWEEPS = Path(__file__).parents[1] / "sweeps.csv"
_WORLDS = ["asyncio", "uvloop", "trio", "blocking"]
_ENGINES = ["h11", "httptools"]
_WAYS = ["clear", "TLS", "forwarded", "CONNECT", "a proxy"]

Places = dict[str, dict[str, str]]
"""By module and row, `worlds; ways; engines`, each with commas."""


def properties(item: pytest.Item) -> list[tuple[str, object]]:
    """What the reports of a test say, so that whoever hears of all tests can tell what was held."""
    if not isinstance(item, pytest.Function) or not (ids := list(held_by(item))):
        return []
    place = places(item)
    return [("faults", ids), ("place", [place.world, place.way, place.engine])]


class Gathered:
    """Where rows are held, module by module."""

    def __init__(self) -> None:
        self._places: defaultdict[str, defaultdict[str, set[Place]]] = defaultdict(lambda: defaultdict(set))

    def add(self, module: str, said: Iterable[tuple[str, object]]) -> None:
        facts = dict(said)
        for id in facts.get("faults", ()):  # type: ignore[attr-defined]
            self._places[module][id].add(Place(*facts["place"]))  # type: ignore[misc]

    def places(self) -> Places:
        return {
            module: {
                id: "; ".join(", ".join(sorted(set(names) - {""})) for names in zip(*where, strict=True))
                for id, where in sorted(rows.items())
            }
            for module, rows in sorted(self._places.items())
        }


class Run:
    """Hears the reports of all tests, in the process that has them: of several, the one that shares them out."""

    def __init__(self) -> None:
        self.gathered = Gathered()
        self.failed: set[str] = set()

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        others = [item for item in items if not properties(item)]
        config.hook.pytest_deselected(items=others)
        left_out = set(others)
        items[:] = [item for item in items if item not in left_out]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.add(_module(report.nodeid))
        elif report.when == "call" and report.passed:
            self.gathered.add(_module(report.nodeid), report.user_properties)

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if hasattr(session.config, "workerinput"):
            return
        options = session.config.option
        ended = exitstatus not in (
            pytest.ExitCode.INTERRUPTED,
            pytest.ExitCode.INTERNAL_ERROR,
            pytest.ExitCode.USAGE_ERROR,
        )
        if (
            not ended
            or options.keyword
            or options.markexpr
            or options.deselect
            or "::" in " ".join(session.config.args)
        ):
            print(f"\n{PAGE.name} is not written, as not all of a module ran")
            return
        # What fails is held nowhere.
        known = _recorded() | self.gathered.places()
        modules = {path.name for path in Path(__file__).parents[1].glob("test_*.py")} - self.failed
        held = {name: rows for name, rows in known.items() if name in modules}
        _write(held)


class Check:
    """Ends a run in which tests are only collected with what is wrong."""

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        if wrong := complaints(session.items):
            pytest.exit("\n".join(wrong), returncode=1)


class Foresight:
    """Writes what a run will have held if all tests pass, for a change that CI will run anyway."""

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        _write(_collected(session.items))


PLUGINS: Mapping[str, Callable[[], object]] = {"write": Run, "check": Check, "foresee": Foresight}


def complaints(items: Iterable[pytest.Item]) -> list[str]:
    """What is wrong with the catalogue and its page, given all tests."""
    collected, recorded = _collected(items), _recorded()
    wrong = [f"no test names the row {id}" for id in FAULTS if not (FAULTS[id].missing or _where(id, collected))]
    wrong += [
        f"the row {id} is held, and says why not" for id in FAULTS if FAULTS[id].missing and _where(id, collected)
    ]
    wrong += [
        f"docs/reliability.md does not say where {id} is held, or says more than is collected: scripts/reliability"
        for id in FAULTS
        if not FAULTS[id].missing and not _is_told(_where(id, recorded), _where(id, collected))
    ]
    if render(recorded) != PAGE.read_text():
        wrong.append("docs/reliability.md is not what was recorded: scripts/reliability render")
    return wrong


def _is_told(recorded: Sequence[set[str]], collected: Sequence[set[str]]) -> bool:
    """Whether a row is recorded, and with nothing that is not there. What came since may be missing for a while."""
    return bool(recorded) and all(told <= found for told, found in zip(recorded, collected, strict=True))


def _where(id: str, held: Places) -> Sequence[set[str]]:
    """The worlds, ways and engines of a row, by all modules; nothing where there is none."""
    found = [rows[id].split("; ") for rows in held.values() if id in rows]
    return (
        [{name for where in found for name in where[index].split(", ")} - {""} for index in range(3)] if found else []
    )


def _collected(items: Iterable[pytest.Item]) -> Places:
    gathered = Gathered()
    for item in items:
        gathered.add(_module(item.nodeid), properties(item))
    return gathered.places()


def _write(held: Places) -> None:
    RECORD.write_text(json.dumps(held, indent=0, sort_keys=True) + "\n")
    PAGE.write_text(render(held))


def _module(nodeid: str) -> str:
    return nodeid.partition("::")[0].rpartition("/")[2]


def _recorded() -> Places:
    record: Places = json.loads(RECORD.read_text())
    return record


_INTRODUCTION = """\
# Reliability

What a broken or hostile peer does, and what becomes of it. Each row is held by tests, and no change comes in with which
one of them fails: this page is written from them by `scripts/reliability`, and a test holds it to what CI runs.

After each test over a connection the same is looked at: what was raised is an error of ours; nothing is active without
a request and nobody waits; open sockets are the connections of the pool, and never more than its limits; a request to
the same origin and one to another succeed with room for one connection, each with the body that is its own; no task,
thread, timer, descriptor or warning is left; memory and time are bounded; and no secret was shown.

"""

_LEGEND = """\
**Pool**: what is left in it. K: the connection, idle and reusable. C: it is closed, its slot free. S: only the stream
is gone. D: it takes no more requests. N: nothing was put there. **Over**: how the peer was reached: in clear, over TLS,
by a proxy that forwards, through a tunnel (CONNECT) with TLS in it. A test that runs over every way runs in clear in
each world, and over each other way in one. **Engines** of HTTP/1.1 are named where a test chooses them. Rows with +
were not in the list that we began with.

"""


def render(held: Places) -> str:
    """The page."""
    parts = [_INTRODUCTION, _summary({id for rows in held.values() for id in rows}), _LEGEND]
    parts += [_section(letter, title, held) for letter, title in SECTIONS.items()]
    parts += [_sweeps(), _searches(), _comparison()]
    return "\n".join(part.strip("\n") + "\n" for part in parts)


def _summary(ids: set[str]) -> str:
    neighbours = sum(fault.is_neighbour for fault in FAULTS.values())
    text = f"{len(FAULTS)} rows, {neighbours} of them neighbours that we tried besides; {len(ids)} are held."
    missing = [fault for fault in FAULTS.values() if fault.missing]
    return text + "".join(f" `{fault.id}` is not: {fault.missing}." for fault in missing)


def _section(letter: str, title: str, held: Places) -> str:
    rows = [fault for fault in FAULTS.values() if fault.section == letter]
    head = ["", "The peer, or what comes", "What becomes of it", "Pool", "Worlds", "Over", "Engines"]
    return f"## {letter}. {title}\n\n" + _table(head, [_row(fault, held) for fault in rows])


def _row(fault: Fault, held: Places) -> list[str]:
    where = _where(fault.id, held)
    worlds, ways, engines = where or (set[str](),) * 3
    return [
        f"`{fault.id}`" + (" +" if fault.is_neighbour else ""),
        fault.peer,
        fault.client,
        fault.pool,
        _worlds(worlds) if where else "**not held**",
        ", ".join(way for way in _WAYS if way in ways),
        ", ".join(engine for engine in _ENGINES if engine in engines),
    ]


def _worlds(names: set[str]) -> str:
    known = [name for name in _WORLDS if name in names]
    runtimes = sorted(names - set(_WORLDS))
    return ", ".join([*(["all"] if len(known) == len(_WORLDS) else known), *runtimes]) or "no I/O"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def _sweeps() -> str:
    """From the table that the sweeps have written, and that their tests hold."""
    with _SWEEPS.open() as file:
        table = list(csv.DictReader(file))
    scenes: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for row in table:
        scenes[row["scene"]].update({kind: int(row[kind] or 0) for kind in KINDS})
        scenes["**in all**"].update({kind: int(row[kind] or 0) for kind in KINDS})
    scenes["**in all**"] = scenes.pop("**in all**")
    text = (
        f"## Every step\n\n{len(table)} stories, from a GET to an upload beside siblings, are told once to count their "
        "steps, and then again for each step, at which they are cancelled, meet an error, a timeout or the end of the "
        "connection, or Ctrl-C in blocking code. After each the same is looked at as above. Points, in all worlds:\n\n"
    )
    rows = [
        [scene, *(f"{points[kind]:,}" for kind in KINDS), f"{points.total():,}"] for scene, points in scenes.items()
    ]
    return text + _table(["", *KINDS, "in all"], rows)


def _searches() -> str:
    """From the numbers that the search's tests hold it to."""
    text = (
        "## The pool, searched\n\nThe state of the pool is a machine of its own, without any I/O. Every state that can "
        "be reached within some bounds is visited, by every order of steps, and no rule is broken in any.\n\n"
    )
    rows = [[planned.title, f"{planned.states:,}", f"{planned.steps:,}"] for planned in SEARCHES]
    return text + _table(["Bounds", "States", "Steps"], rows)


def _comparison() -> str:
    found = results.load()
    text = (
        "## Released clients\n\n"
        f"The same scripted peers, played to released clients by one rule on {found.date} (`scripts/compare`). A row "
        "is passed where all of its cases are. Clients were measured on the rows that they can be measured on.\n\n"
    )
    totals = [_totals(found, client) for client in found.versions]
    totals.sort(key=lambda row: -float(row[-1].removesuffix(" %")))
    return text + _table(["Client", "Rows", "Passed", ""], totals) + "\n" + _table(*_failures(found))


def _totals(found: results.Results, client: str) -> list[str]:
    rows = found.counts(client)["rows"]
    share = 100 * rows["passed"] / max(1, rows["measured"])
    return [found.versions[client], str(rows["measured"]), str(rows["passed"]), f"{share:.1f} %"]


def _failures(found: results.Results) -> tuple[list[str], list[list[str]]]:
    """Rows that somebody did not pass, and what went wrong there first."""
    by_row: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for measured in found.cases.values():
        for client, outcome in _wrong(measured.outcomes):
            by_row[measured.row].setdefault(client, outcome)
    order = {id: number for number, id in enumerate(FAULTS)}
    rows = sorted(by_row, key=lambda row: (order.get(row, len(order)), row))
    return ["Row", "Who did not pass, and how"], [
        [f"`{row}`", "; ".join(f"{client}: {how}" for client, how in sorted(by_row[row].items()))] for row in rows
    ]


def _wrong(outcomes: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    return ((client, outcome) for client, outcome in outcomes.items() if outcome != PASS)
