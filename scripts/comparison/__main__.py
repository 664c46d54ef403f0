"""The command line of `scripts/compare`."""

from __future__ import annotations

import argparse
import datetime
import fnmatch
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from . import results
from .cases import Case
from .catalogue import CASES
from .contenders import CONTENDERS, Contender
from .driver import OURS, Driver
from .judging import PASS
from .results import Measured, Results


def main() -> None:
    arguments = _arguments()
    cases = _chosen(arguments.cases)
    contenders = [one for one in CONTENDERS if not arguments.client or one.title in arguments.client]
    versions: dict[str, str] = {}
    outcomes: dict[str, dict[str, str]] = {}

    def measure(contender: Contender) -> None:
        python = sys.executable if contender.module == OURS else arguments.peers
        with Driver(contender.module, python) as client:
            version = client.describe()
            outcomes[contender.title] = _measure(contender, client, cases, arguments.show)
            versions[contender.title] = version

    with ThreadPoolExecutor(arguments.jobs) as executor:
        measuring = [executor.submit(measure, contender) for contender in contenders]
    found = Results(datetime.date.today().isoformat(), dict(sorted(versions.items())), _by_case(cases, outcomes))
    print("\n".join(_summary(found)))
    if not arguments.dry:
        is_all = not arguments.cases and not arguments.client
        results.PATH.write_text((found if is_all else results.load().with_others(found)).text())
        print(f"written: {results.PATH.name}")
    if errors := [error for one in measuring if isinstance(error := one.exception(), Exception)]:
        raise ExceptionGroup("some could not be measured to the end, and are left out", errors)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/compare", description="Plays broken peers to released clients.")
    parser.add_argument("cases", nargs="*", metavar="CASE", help="only these ids, or patterns such as 'b_cl_*'")
    parser.add_argument(
        "--client", action="append", choices=[one.title for one in CONTENDERS], help="only this one; may be repeated"
    )
    parser.add_argument("--dry", action="store_true", help="write nothing")
    parser.add_argument("--jobs", type=int, default=4, help="how many clients at a time, 4 by default")
    parser.add_argument("--show", action="store_true", help="show what was said where a case did not pass")
    parser.add_argument("--peers", required=True, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not _chosen(arguments.cases):
        parser.error("there is no such case")
    return arguments


def _chosen(patterns: Sequence[str]) -> list[Case]:
    return [case for case in CASES if not patterns or any(fnmatch.fnmatch(case.id, one) for one in patterns)]


def _measure(contender: Contender, client: Driver, cases: Sequence[Case], is_shown: bool) -> dict[str, str]:
    begun = time.monotonic()
    outcomes: dict[str, str] = {}
    said: list[str] = []
    for case in cases:
        if case.kind in contender.can and (outcome := _outcome(case, client)) is not None:
            outcomes[case.id] = outcome
            if is_shown and outcome != PASS:
                said += [f"{case}: {outcome}", *(f"    {one[:400]}" for one in client.log)]
    counted = Counter(outcomes.values()).most_common()
    summary = ", ".join(f"{count} {outcome}" for outcome, count in counted)
    print("\n".join([*said, f"{contender.title}, {time.monotonic() - begun:.0f} s: {summary}"]), flush=True)
    return outcomes


def _outcome(case: Case, client: Driver) -> str | None:
    """What did not pass is measured until it came to the same twice, so that a busy machine has no say."""
    seen: set[str] = set()
    while True:
        outcome = case.play(client)
        if outcome is None or outcome == PASS or outcome in seen:
            return outcome
        seen.add(outcome)


def _by_case(cases: Sequence[Case], outcomes: Mapping[str, Mapping[str, str]]) -> dict[str, Measured]:
    return {
        case.id: Measured(case.row, {name: of[case.id] for name, of in outcomes.items() if case.id in of})
        for case in cases
    }


def _summary(found: Results) -> list[str]:
    lines = []
    for name in found.versions:
        rows, cases = found.counts(name)["rows"], found.counts(name)["cases"]
        lines.append(
            f"{name:14} {rows['passed']:4} of {rows['measured']:4} rows, "
            f"{cases['passed']:4} of {cases['measured']:4} cases"
        )
    return lines


if __name__ == "__main__":
    main()
