"""The plot: one bar for each ratio, on a scale where twice as fast and half as fast are equally far from even."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from .results import Outcome, Result, Verdict

_WIDTH = 900
_LEFT = 400
_RIGHT = 70
_TOP = 64
_ROW = 24
_BAR = 14
_GAP = 10
_BOTTOM = 44

# It has a ground of its own: the page it is shown on may be light while the reader's system is dark.
_STYLE = """
.ground { fill: #ffffff; stroke: #d0d7de }
.grid { stroke: #d8dee4 }
.even { stroke: #57606a; stroke-width: 1.5 }
text { fill: #1f2328; font: 12px system-ui, sans-serif }
.title { font-size: 15px; font-weight: 600 }
.faint { fill: #57606a }
.aim { fill: #1a7f37 }
.wanted { fill: #0969da }
.short { fill: #cf222e }
.none { fill: #8c959f }
.mark { stroke: #1f2328; stroke-width: 2 }
.spread { stroke: #1f2328; stroke-opacity: 0.55 }
@media (prefers-color-scheme: dark) {
  .ground { fill: #161b22; stroke: #30363d }
  .grid { stroke: #30363d }
  .even { stroke: #8b949e }
  text { fill: #e6edf3 }
  .faint { fill: #8b949e }
  .aim { fill: #3fb950 }
  .wanted { fill: #58a6ff }
  .short { fill: #f85149 }
  .none { fill: #6e7681 }
  .mark, .spread { stroke: #e6edf3 }
}
"""

_CLASSES = {Verdict.AIM: "aim", Verdict.WANTED: "wanted", Verdict.SHORT: "short", Verdict.NONE: "none"}


class _Scale:
    """Ratios to pixels, by powers of two, wide enough for all of them."""

    def __init__(self, values: Sequence[float]) -> None:
        self.lowest = math.floor(min(-1.0, *(math.log2(value) for value in values)))
        self.highest = math.ceil(max(1.0, *(math.log2(value) for value in values)))

    def __call__(self, value: float) -> float:
        share = (math.log2(value) - self.lowest) / (self.highest - self.lowest)
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)


def svg(outcomes: Sequence[Outcome]) -> str:
    """A picture of the rows in which more is better."""
    groups = [[r for r in o.results if r.is_ratio] for o in outcomes if not o.scenario.is_less_better]
    scale = _Scale([result.value for group in groups for result in group])
    height = _TOP + sum(len(group) * _ROW + _GAP for group in groups) + _BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}" role="img">',
        "<title>How many times as fast httpcore is, against other clients</title>",
        f"<style>{_STYLE}</style>",
        f'<rect class="ground" x="0.5" y="0.5" width="{_WIDTH - 1}" height="{height - 1}" rx="8"/>',
        '<text class="title" x="20" y="30">Times as fast as the other; longer to the right is better</text>',
        *_grid(scale, height),
    ]
    y = _TOP
    for group in groups:
        for result in group:
            parts += _bar(result, y, scale)
            y += _ROW
        y += _GAP
    parts += [_legend(height), "</svg>"]
    return "\n".join(parts) + "\n"


def _grid(scale: _Scale, height: int) -> list[str]:
    parts = []
    for power in range(scale.lowest, scale.highest + 1):
        x = scale(2.0**power)
        kind = "even" if power == 0 else "grid"
        parts.append(f'<line class="{kind}" x1="{x:.1f}" y1="{_TOP - 8}" x2="{x:.1f}" y2="{height - _BOTTOM}"/>')
        label = "even" if power == 0 else f"{2.0**power:g}"
        parts.append(f'<text class="faint" x="{x:.1f}" y="{_TOP - 14}" text-anchor="middle">{label}</text>')
    return parts


def _bar(result: Result, y: float, scale: _Scale) -> list[str]:
    even, end = scale(1.0), scale(result.value)
    top, middle, baseline = y + (_ROW - _BAR) / 2, y + _ROW / 2, y + _ROW / 2 + 4
    left, width = min(even, end), max(abs(end - even), 1.0)
    kind, low, high = _CLASSES[result.verdict], scale(result.low), scale(result.high)
    parts = [
        f'<text x="{_LEFT - 12}" y="{baseline}" text-anchor="end">{escape(result.row.what)}</text>',
        f'<rect class="{kind}" x="{left:.1f}" y="{top}" width="{width:.1f}" height="{_BAR}" rx="2"/>',
        f'<line class="spread" x1="{low:.1f}" y1="{middle}" x2="{high:.1f}" y2="{middle}"/>',
    ]
    if result.row.wanted is not None:
        x = scale(result.row.wanted)
        parts.append(f'<line class="mark" x1="{x:.1f}" y1="{top - 3}" x2="{x:.1f}" y2="{top + _BAR + 3}"/>')
    x = max(end, even, high, scale(result.row.wanted or 1.0)) + 6
    parts.append(f'<text x="{x:.1f}" y="{baseline}">{result.value:.2f}</text>')
    return parts


def _legend(height: int) -> str:
    y = height - 18
    parts = []
    x = 20.0
    for kind, text in (
        ("aim", "aim reached"),
        ("wanted", "promise kept"),
        ("short", "falls short"),
        ("none", "for information"),
    ):
        parts.append(f'<rect class="{kind}" x="{x}" y="{y - 10}" width="12" height="12" rx="2"/>')
        parts.append(f'<text class="faint" x="{x + 18}" y="{y}">{text}</text>')
        x += 130
    parts.append(f'<line class="mark" x1="{x}" y1="{y - 12}" x2="{x}" y2="{y + 4}"/>')
    parts.append(f'<text class="faint" x="{x + 10}" y="{y}">wanted</text>')
    parts.append(f'<line class="spread" x1="{x + 80}" y1="{y - 4}" x2="{x + 104}" y2="{y - 4}"/>')
    parts.append(f'<text class="faint" x="{x + 112}" y="{y}">spread</text>')
    return "\n".join(parts)
