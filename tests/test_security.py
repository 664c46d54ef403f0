"""What the page on security says of limits is what the code does."""

from __future__ import annotations

import importlib
import re
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path

import pytest

PAGE = Path(__file__).parent.parent / "docs" / "security.md"
PACKAGE = Path(__file__).parent.parent / "httpcore"
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


# What is called a most, and bounds nothing that somebody else could fill.
SYNTAX = {
    "_decoders._MAX_PIECE",  # the step of a step
    "_engines.framing._MAX_LENGTH",  # what a number may be
    "_engines.framing._MAX_LENGTH_DIGITS",
    "_engines.h2._MAX_STREAMS_UNTIL_SAID",
    "_engines.h2._MAX_WINDOW",
    "_network._MAX_INTERFACE",
    "_pool_state._MAX_RIVALS",  # of work, not of memory
    "_proxy._MAX_SOCKS_FIELD",
    "_urls._MAX_IPV6",
    "_urls._MAX_NAME",
}


def test_no_limit_is_left_out_of_the_page() -> None:
    named = {
        f"{'.'.join(path.relative_to(PACKAGE).with_suffix('').parts)}.{name}"
        for path in PACKAGE.rglob("*.py")
        for name in re.findall(r"^(_?MAX_\w+) *[:=]", path.read_text("utf-8"), re.MULTILINE)
    }
    assert len(named) > 20
    assert named - SYNTAX == {place for _, _, place in ROWS if "MAX_" in place}
