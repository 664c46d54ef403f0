"""The ids of the project's list of faults, and which of them a case belongs to."""

from __future__ import annotations

import re
from pathlib import Path

FAULTS = frozenset(Path(__file__).with_name("faults.txt").read_text().split())

# Where the tests have a shorter name, or one of a kind that the list puts under another.
_NAMES = {"b_cl_dup": "b_cl_dup_diff", "b_cl_list": "b_cl_list_diff"}


def row_of(id: str) -> str:
    """The row of a case: the longest id that its own begins with, or its own without a number."""
    parts = id.split("_")
    for end in range(len(parts), 1, -1):
        name = "_".join(parts[:end])
        if (row := _NAMES.get(name, name)) in FAULTS:
            return row
    return re.sub(r"_\d{1,2}$", "", id)
