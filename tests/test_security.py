"""What the page on security says of limits is what the code does."""

from __future__ import annotations

import importlib
import re
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path

import pytest

PAGE = Path(__file__).parent.parent / "docs" / "security.md"
ROWS = re.findall(r"^\| ([^|]+?) \| ([0-9]+) \| [^|]* \| `([\w.]+)` \|$", PAGE.read_text("utf-8"), re.MULTILINE)


def test_the_page_has_its_table() -> None:
    assert len(ROWS) > 20


@pytest.mark.parametrize(("what", "number", "place"), ROWS, ids=[place for _, _, place in ROWS])
def test_every_limit_has_the_number_that_the_page_gives(what: str, number: str, place: str) -> None:
    path, _, name = place.rpartition(".")
    holder, _, of_class = path.rpartition(".") if path[path.rfind(".") + 1].isupper() else (path, "", "")
    module = importlib.import_module(f"httpcore.{holder}")
    if not of_class:
        assert getattr(module, name) == int(number), what
        return
    cls = getattr(module, of_class)
    assert is_dataclass(cls)
    default = next(option.default for option in fields(cls) if option.name == name)
    assert default is not MISSING
    assert default == int(number), what
