"""The comparison with released clients is measured by `scripts/compare`, where they are installed. Here its file is
held to what can be known without them."""

from __future__ import annotations

import re
import sys
from collections import Counter

from scripts.comparison import results
from scripts.comparison.catalogue import CASES
from scripts.comparison.contenders import CONTENDERS
from scripts.comparison.driver import OURS, Driver
from scripts.comparison.judging import MEANINGS, PASS

(OUR_NAME,) = (contender.title for contender in CONTENDERS if contender.module == OURS)
KNOWN = {case.id: case for case in CASES}
# One of each way to be judged.
REPRESENTATIVE = [
    "chunked", "until_close", "a_extra_same", "a_head_body", "b_cl_dup_0", "b_cl_20_1", "b_te_unknown_1", "b_ck_lf_3",
    "c_close_mid_3", "d_1xx_flood_0", "f_push", "f_upper", "f_data_first_over", "f_prio_flood", "continuations",
]  # fmt: skip


def test_cases_have_names_of_their_own() -> None:
    assert not [id for id, count in Counter(case.id for case in CASES).items() if count > 1]


def test_the_file_names_only_what_there_is() -> None:
    found = results.load()
    assert found.cases.keys() <= KNOWN.keys()
    assert found.versions.keys() <= {contender.title for contender in CONTENDERS}
    for id, measured in found.cases.items():
        assert measured.row == KNOWN[id].row
        assert measured.outcomes.keys() <= found.versions.keys()
        for outcome in measured.outcomes.values():
            words = {re.split(r" \(| at the ", word)[0] for word in outcome.split(", ")}
            assert words <= MEANINGS.keys(), f"{id}: {outcome!r} has no meaning"


def test_the_file_is_as_it_was_written() -> None:
    """What it counts is what it says, and nobody has edited it."""
    assert results.PATH.read_text() == results.load().text()


def test_all_that_was_measured_was_measured_for_ours_and_passed() -> None:
    for id, measured in results.load().cases.items():
        assert measured.outcomes[OUR_NAME] == PASS, id


def test_our_column_is_what_comes_of_measuring_again() -> None:
    with Driver(OURS, sys.executable) as client:
        for id in REPRESENTATIVE:
            assert KNOWN[id].play(client) == PASS, (id, client.log)
