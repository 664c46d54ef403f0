"""What zttp may do otherwise than h11 and httptools, which agree on all input: the one list of it.

`docs/engines.md` shows it to users. A response on which engines differ for another reason fails a test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from httpcore._engines.framing import ResponseHead

__all__ = ["DISAGREEMENTS", "OWN_WORDS", "Disagreement", "table"]

# zttp's own limits, which ours do not reach.
_ZTTP_STATUS, _ZTTP_COUNT, _ZTTP_BYTES = 599, 100, 16 * 1024


@dataclass(frozen=True)
class Disagreement:
    """Something that the others deliver and zttp refuses.

    Args:
        response: what it is that the response has.
        others: what they do with it.
        reason: why zttp refuses it, and why that is accepted.
        applies: whether a head has it.
        rows: the rows that show it.
    """

    response: str
    others: str
    reason: str
    applies: Callable[[ResponseHead], bool]
    rows: tuple[str, ...]


def _size(head: ResponseHead) -> int:
    return len(head.reason) + sum(len(name) + len(value) + 4 for name, value in head.headers)


def _is_interim(head: ResponseHead) -> bool:
    return head.status_code < 200 and head.status_code != 101


DISAGREEMENTS = (
    Disagreement(
        "a status code from 600 on",
        "deliver it",
        "the parser knows five classes; RFC 9110, 15 lets a client take it for a 5xx, which is the caller's to decide",
        lambda head: head.status_code > _ZTTP_STATUS,
        ("c_st_6xx", "c_st_999"),
    ),
    Disagreement(
        "more than 100 header fields",
        "allow `Limits.max_header_count`, 500",
        "a limit of the parser that cannot be set",
        lambda head: len(head.headers) > _ZTTP_COUNT,
        ("c_count_500",),
    ),
    Disagreement(
        "a line or a head beyond 16 KiB",
        "allow 64 KiB a line, `Limits.max_header_bytes` in all",
        "a limit of the parser that cannot be set",
        lambda head: _size(head) > _ZTTP_BYTES - 100,  # the blanks around values are not in it
        ("c_line_60k", "c_head_250k", "c_st_reason_60k"),
    ),
    Disagreement(
        "an interim response with a content-length or a transfer-encoding",
        "skip it",
        "no server may send it (RFC 9110, 8.6; RFC 9112, 6.1); it has no body whatever it says, so that both are safe",
        lambda head: _is_interim(head) and (b"content-length" in head.named or b"transfer-encoding" in head.named),
        ("d_1xx_cl", "d_1xx_cl_0", "d_1xx_te"),
    ),
    Disagreement(
        "a status code of 101 or 204 with a transfer-encoding",
        "deliver it",
        "no server may send it (RFC 9112, 6.1); it has no body whatever it says, so that both are safe",
        lambda head: head.status_code in (101, 204) and b"transfer-encoding" in head.named,
        ("a_204_chunk", "b_101_te", "b_204_te"),
    ),
)

# Rows that all engines refuse, zttp earlier and in words of its own: those of an interim response that is too large, or
# that announces a body.
OWN_WORDS = frozenset({"d_1xx_flood_1", "d_1xx_body"})


def table() -> Iterator[str]:
    """The lines of the table in `docs/engines.md`."""
    yield "| a response with | the others | zttp refuses it because |"
    yield "| --- | --- | --- |"
    for found in DISAGREEMENTS:
        yield f"| {found.response} | {found.others} | {found.reason} |"
