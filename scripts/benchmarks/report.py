"""The table on the terminal, and the page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from .results import Outcome, Result, Verdict

# Written by hand, since no run can tell why.
_SHORTFALLS = Path(__file__).with_name("shortfalls.md")
_WIDTHS = (62, 8, 14, 7, 8, 8)


def heading() -> str:
    return _line(("what", "measured", "spread", "by CPU", "wanted", "aim"), "")


def lines(outcome: Outcome) -> Iterable[str]:
    """A scenario for the terminal."""
    yield f"\n{outcome.scenario.name}: {outcome.scenario.title}"
    for result in outcome.results:
        cells = (result.row.what, _value(result), _spread(result), _by_cpu(result), _wanted(result), _aim(result))
        yield _line(cells, result.verdict.value.upper() if result.verdict is Verdict.SHORT else result.verdict.value)
    for figure in outcome.figures:
        cpu = "" if figure.cpu is None else f", {figure.cpu:,.0f} µs of CPU a request"
        busy = "" if figure.busy is None else f", {figure.busy:.0%} of the core"
        yield f"    {figure.label}: {figure.value:,.1f} {figure.unit}{cpu}{busy}"


def page(outcomes: Sequence[Outcome], machine: Sequence[tuple[str, str]], command: str) -> str:
    """docs/benchmarks.md."""
    http2 = [outcome for outcome in outcomes if outcome.scenario.is_http2]
    parts = [_INTRODUCTION, _results([outcome for outcome in outcomes if not outcome.scenario.is_http2])]
    if http2:
        parts += [_HTTP2, _results(http2)]
    parts += ["\n" + _SHORTFALLS.read_text(encoding="utf-8").strip(), _READING]
    parts += [
        "## What was measured\n",
        *(f"**{o.scenario.title}** (`{o.scenario.name}`). {o.scenario.about}\n" for o in outcomes),
    ]
    parts += ["## Where and with what\n", "| | |\n| --- | --- |"]
    parts += [f"| {name} | {value} |" for name, value in (*machine, ("Command", f"`{command}`"))]
    parts += [_FIGURES, "| scenario | client | figure | CPU a request | of its core |\n| --- | --- | --- | --- | --- |"]
    parts += [line for outcome in outcomes for line in _figures(outcome)]
    return "\n".join(parts) + "\n"


_INTRODUCTION = """\
# Benchmarks

`scripts/bench` writes this page. It compares httpcore with other clients side by side, in one run on one machine, and
what counts are ratios: they travel from one machine to another better than any number of requests per second.

![How many times as fast httpcore is](benchmarks.svg)

## Results
"""

_HTTP2 = """
### HTTP/2

Over TLS, and each client has **one** connection, whatever it does at a time. The server takes 100 streams on it and
answers nothing but HTTP/2; how many connections a client has made is counted.
"""

_READING = """
## How to read it

- **Ratio** is our median over theirs. Above 1 httpcore does more in the same time. The rows about CPU, memory and
  import are the other way round, less is better there; those about memory and import are no ratios, but what it comes
  to.
- **Spread** is where the middle half of the rounds lies. A ratio is only as good as that is narrow.
- **By CPU** is their CPU per request over ours. It leaves out the time in which the client only waits, so it is
  steadier than the ratio, and it is what counts where a machine has other work too.
- **Wanted** is what the project promises, **aim** what it works for. Rows without them are for information.
- A bare `asyncio.Protocol`, stream or socket is the floor: it writes canned bytes and hardly looks at what comes back,
  so it does nothing that a client is for. It shows what the event loop, the kernel and the server take alone.

### How it is measured

Each client runs in a process of its own, for as long as a scenario takes. All of them share one core of the machine,
and the server has another. They take turns, round after round, and who begins changes from round to round, so that
whatever else the machine does hits all of them. Before a turn counts, it runs for a moment uncounted. The peers are
used the way their documentation recommends for speed: one session or pool, as many connections as requests at a time,
bodies read whole, TLS verified against the benchmark's own certificate authority. Everything goes over loopback, where
a client has nothing to hide behind; over a real network the differences are smaller than they are here.
"""

_FIGURES = """
## Figures

For orientation; another machine, and another day on the same one, gives others. "Of its core" is the share of the core
that the client was busy: where that is far below 100 %, it waited for the server.
"""


def _results(outcomes: Sequence[Outcome]) -> str:
    rows = ["| what | ratio | spread | by CPU | wanted | aim | |\n| --- | --- | --- | --- | --- | --- | --- |"]
    for outcome in outcomes:
        for result in outcome.results:
            value, verdict = _value(result), result.verdict.value
            if result.verdict is not Verdict.NONE:
                value, verdict = f"**{value}**", f"**{verdict}**" if result.verdict is Verdict.SHORT else verdict
            bounds = (_wanted(result), _aim(result))
            cells = (result.row.what, value, _spread(result), _by_cpu(result), *bounds, verdict)
            rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _figures(outcome: Outcome) -> Iterable[str]:
    for figure in outcome.figures:
        cpu = "" if figure.cpu is None else f"{figure.cpu:,.0f} µs"
        busy = "" if figure.busy is None else f"{figure.busy:.0%}"
        yield f"| {outcome.scenario.name} | {figure.label} | {figure.value:,.0f} {figure.unit} | {cpu} | {busy} |"


def _value(result: Result) -> str:
    return f"{result.value:.2f}" if result.is_ratio else f"{result.value:.1f} {_short(result)}"


def _spread(result: Result) -> str:
    digits = 2 if result.is_ratio else 1
    return f"{result.low:.{digits}f} to {result.high:.{digits}f}"


def _by_cpu(result: Result) -> str:
    return "" if result.by_cpu is None else f"{result.by_cpu:.2f}"


def _wanted(result: Result) -> str:
    return _bound(result, result.row.wanted)


def _aim(result: Result) -> str:
    return _bound(result, result.row.aim)


def _bound(result: Result, bound: float | None) -> str:
    if bound is None:
        return ""
    sign = "≤" if result.scenario.is_less_better else "≥"
    return f"{sign} {bound:g}" if result.is_ratio else f"{sign} {bound:g} {_short(result)}"


def _short(result: Result) -> str:
    return result.scenario.unit.removesuffix(" more")


def _line(cells: Sequence[str], last: str) -> str:
    return "  ".join(
        [cells[0].ljust(_WIDTHS[0]), *(c.rjust(w) for c, w in zip(cells[1:], _WIDTHS[1:], strict=True)), last]
    )
