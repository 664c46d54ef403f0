"""The command line of `scripts/bench`."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import trustme

from . import machine, measuring, plot, report
from .measuring import Effort
from .results import Outcome
from .scenarios import SCENARIOS, Scenario
from .server import Server, serving
from .team import Place

_DOCS = Path(__file__).parents[2] / "docs"
_FULL = Effort(rounds=7, seconds=1.0, fresh_rounds=3)
_QUICK = Effort(rounds=3, seconds=0.25, fresh_rounds=1)


def main() -> None:
    arguments = _arguments()
    if arguments.list:
        for scenario in SCENARIOS:
            print(f"{scenario.name:14} {scenario.title}")
        return
    neighbours = machine.Neighbours()
    with _bench(Path(arguments.peers)) as (place, server):
        if arguments.names[:1] == ["profile"]:
            _profile(arguments.names[1:], place, server, arguments.seconds or 3.0)
            return
        outcomes = _run(_chosen(arguments), place, server, _effort(arguments))
    # Only now has the server ended, and is its time known to be ours.
    others = _others(neighbours)
    print(f"others on this machine: {others}")
    if not arguments.names and not arguments.quick:
        _write(outcomes, place, server, others)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Compares httpcore with other clients.")
    parser.add_argument("names", nargs="*", metavar="SCENARIO", help="only these; or: profile SCENARIO [CLIENT]")
    parser.add_argument("--quick", action="store_true", help="rows with a target only, in less than a minute")
    parser.add_argument("--rounds", type=int, help=f"turns of each client, {_FULL.rounds} by default")
    parser.add_argument("--seconds", type=float, help=f"of each turn, {_FULL.seconds:g} by default")
    parser.add_argument("--list", action="store_true", help="name the scenarios")
    parser.add_argument("--peers", required=True, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.rounds is not None and arguments.rounds < 1:
        parser.error("--rounds is 1 or more")
    if arguments.seconds is not None and arguments.seconds <= 0:
        parser.error("--seconds is more than 0")
    names = arguments.names[1:2] if arguments.names[:1] == ["profile"] else arguments.names
    unknown = set(names) - {scenario.name for scenario in SCENARIOS}
    if unknown or (arguments.names and not names):
        parser.error(f"name a scenario of --list, not {', '.join(sorted(unknown)) or 'none'}")
    return arguments


def _chosen(arguments: argparse.Namespace) -> list[Scenario]:
    chosen = [scenario for scenario in SCENARIOS if not arguments.names or scenario.name in arguments.names]
    if arguments.quick:
        chosen = [scenario.wanted_only() for scenario in chosen]
    return [scenario for scenario in chosen if scenario.rows]


def _effort(arguments: argparse.Namespace) -> Effort:
    effort = _QUICK if arguments.quick else _FULL
    return Effort(arguments.rounds or effort.rounds, arguments.seconds or effort.seconds, effort.fresh_rounds)


@contextmanager
def _bench(peers: Path) -> Iterator[tuple[Place, Server]]:
    """The server on one core, and the place for clients on another."""
    cores = machine.cores()
    if len(cores) < 2:
        print(
            "scripts/bench: no second core to be had; clients and server will be in each other's way", file=sys.stderr
        )
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        directory = Path(temporary)
        ca = trustme.CA()
        ca.cert_pem.write_to_path(str(directory / "ca.pem"))
        leaf = ca.issue_cert("127.0.0.1", "localhost")
        leaf.private_key_pem.write_to_path(str(directory / "key.pem"))
        for blob in leaf.cert_chain_pems:
            blob.write_to_path(str(directory / "chain.pem"), append=True)
        if len(cores) > 1:
            # The server inherits it; the workers leave for theirs.
            os.sched_setaffinity(0, {cores[0]})
        place = Place(
            sys.executable, str(peers.absolute()), cores[-1] if len(cores) > 1 else None, directory / "ca.pem"
        )
        with serving(directory / "chain.pem", directory / "key.pem", directory) as server:
            yield replace(place, proxy=server.bulk), server


def _run(scenarios: Sequence[Scenario], place: Place, server: Server, effort: Effort) -> list[Outcome]:
    begun = time.monotonic()
    print(f"{report.heading()}\nserver: {server.name}")
    outcomes = []
    for scenario in scenarios:
        if scenario.is_http2 and server.http2 is None:
            print(f"\n{scenario.name}: left out, for there is no nginx here")
            continue
        outcomes.append(measuring.measure(scenario, place, server, effort))
        measuring.forget_told()
        print("\n".join(report.lines(outcomes[-1])), flush=True)
    print(f"\n{time.monotonic() - begun:.0f} seconds")
    return outcomes


def _others(neighbours: machine.Neighbours) -> str:
    share = neighbours.share()
    return "unknown" if share is None else f"{share:.0%} of its time"


def _write(outcomes: Sequence[Outcome], place: Place, server: Server, others: str) -> None:
    facts = [
        *machine.describe(),
        ("Beside it", machine.our_versions()),
        ("Peers", machine.peer_versions(place.peers)),
        ("Server", server.name),
        ("Others on the machine", others),
    ]
    (_DOCS / "benchmarks.md").write_text(report.page(outcomes, facts, _command()))
    (_DOCS / "benchmarks.svg").write_text(plot.svg(outcomes))
    print("written: docs/benchmarks.md, docs/benchmarks.svg")


def _command() -> str:
    arguments = sys.argv[1:]
    at = arguments.index("--peers")
    return shlex.join(["scripts/bench", *arguments[:at], *arguments[at + 2 :]])


def _profile(names: Sequence[str], place: Place, server: Server, seconds: float) -> None:
    scenario = next(scenario for scenario in SCENARIOS if scenario.name == names[0])
    if scenario.is_http2 and server.http2 is None:
        sys.exit(f"scripts/bench: {scenario.name} needs nginx")
    entrants = {entrant.label: entrant for entrant in scenario.entrants}
    label = names[1] if len(names) > 1 else next(iter(entrants), "")
    if label not in entrants:
        sys.exit(f"scripts/bench: {scenario.name} has no client {label!r}; it has {', '.join(entrants) or 'none'}")
    profiled = measuring.profile(scenario, entrants[label], place, server, seconds)
    plain = profiled.plain
    user, system = (seconds / plain.requests * 1e6 for seconds in (plain.user, plain.system))
    print(f"{label} in {scenario.name}: {plain.requests / plain.wall:,.0f} requests/s, each of them")
    print(f"{user:,.1f} µs of CPU and {system:,.1f} µs more in the kernel")
    print(f"\nWhere the time goes\n\n{profiled.time}\n\nWhat is called, slowed down by counting\n\n{profiled.calls}")


if __name__ == "__main__":
    main()
