"""The command line of the suite."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

from benchmarks import (
    build,
    burst,
    machine,
    memory,
    mysql,
    peers,
    profile,
    relay,
    report,
    scanners,
    skew,
)
from tests.support.local_postgres import NoServer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def parser() -> argparse.ArgumentParser:
    """Return the argument parser."""
    made = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    made.add_argument("part", nargs="?", default="all", choices=(*PARTS, "all"))
    made.add_argument("--quick", action="store_true", help="two minutes instead of everything")
    made.add_argument("--rounds", type=int, default=0, help="times every case is repeated")
    made.add_argument("--duration", type=int, default=2, help="seconds of load per run")
    made.add_argument("--interpreted", action="store_true", help="the interpreted twin too")
    made.add_argument("--only", default="", help="only cases whose title contains this")
    made.add_argument(
        "--peers", default="", help="only these peers, comma separated, unreliable ones too"
    )
    return made


def taking_part(options: argparse.Namespace, engine: str = "postgresql") -> list[peers.Peer]:
    """Return the peers of an engine that are to take part; print why others do not."""
    known = list(peers.PEERS[engine])
    if options.interpreted and engine == "postgresql":
        known.append(peers.INTERPRETED)
    names = [name for name in options.peers.split(",") if name]
    for peer in known:
        if peer.unreliable and not names:
            print(f"  without {peer.name} (unless --peers names it): {peer.unreliable}", flush=True)
    return [peer for peer in known if (peer.name in names if names else not peer.unreliable)]


def _facts(rivals: list[peers.Peer]) -> dict[str, str]:
    facts = machine.facts([peer.binary for peer in rivals if peer.binary] + ["pgbench"])
    facts["tidegate"] = build.description(build.installed(compiled=True))
    facts["started"] = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    return facts


def _relay(options: argparse.Namespace) -> list[Path]:
    rivals = taking_part(options)
    rounds = options.rounds or (2 if options.quick else 3)
    chosen = relay.cases(quick=options.quick, duration_s=options.duration)
    chosen = [case for case in chosen if options.only in case.title]
    names = ["direct", *(peer.name for peer in rivals)]
    estimate_s = relay.length_s(chosen, rounds, names)
    print(f"{len(chosen)} cases, {rounds} rounds: about {estimate_s / 60:.0f} minutes", flush=True)
    facts = _facts(rivals)
    return report.write(facts, relay.measure(chosen, rivals, rounds))


def _burst(options: argparse.Namespace, engine: str = "postgresql") -> list[Path]:
    rivals = taking_part(options, engine)
    rounds = options.rounds or (1 if options.quick else 2)
    chosen = burst.bursts(engine, quick=options.quick)
    chosen = [one for one in chosen if options.only in one.title]
    estimate_s = burst.length_s(chosen, rounds, len(rivals) + 1)
    print(f"{len(chosen)} bursts, {rounds} rounds: about {estimate_s / 60:.0f} minutes", flush=True)
    facts = _facts(rivals)
    results = burst.measure(engine, chosen, rivals, rounds)
    if engine == "mysql":
        return report.write_plain(facts, results, "mysql-burst", "Lambda bursts, MySQL")
    return report.write_plain(facts, results, "burst", "Lambda bursts")


def _mysql_burst(options: argparse.Namespace) -> list[Path]:
    return _burst(options, "mysql")


def _memory(options: argparse.Namespace, engine: str = "postgresql") -> list[Path]:
    rivals = taking_part(options, engine)
    counts = (600,) if options.quick else (1_000, 5_000, 15_000)
    links = (False,) if options.quick else (False, True)
    rate = memory.LOGINS_PER_S[engine]
    print(f"up to {max(counts):,} clients at {rate:.0f} logins a second, for each peer", flush=True)
    facts = _facts(rivals)
    results = [one for tls in links for one in memory.measure(engine, counts, rivals, tls=tls)]
    for tls in links:
        results += memory.measure(engine, counts[:1], rivals, tls=tls, busy=True)
    if engine == "mysql":
        return report.write_plain(facts, results, "mysql-memory", "Memory of idle MySQL clients")
    return report.write_plain(facts, results, "memory", "Memory of idle clients")


def _mysql_memory(options: argparse.Namespace) -> list[Path]:
    return _memory(options, "mysql")


def _scale(options: argparse.Namespace) -> list[Path]:
    rivals = taking_part(options)
    rounds = options.rounds or (2 if options.quick else 3)
    chosen = relay.scale_cases(options.duration)
    chosen = [case for case in chosen if options.only in case.title]
    teams = [*peers.WORKERS, *(peer for peer in rivals if peer.name == report.REFERENCE)]
    names = ["direct", *(peer.name for peer in teams)]
    estimate_s = relay.length_s(chosen, rounds, names)
    print(f"{len(chosen)} cases, {rounds} rounds: about {estimate_s / 60:.0f} minutes", flush=True)
    facts = _facts(rivals)
    written = report.write(facts, relay.measure(chosen, teams, rounds), "scale")
    title = "Two workers, one budget"
    return [*written, *report.write_plain(facts, skew.measure(), "skew", title)]


def _profile(options: argparse.Namespace) -> list[Path]:
    rivals = taking_part(options)
    protocols = [name for name in relay.PROTOCOLS if options.only in name]
    named = rivals if options.peers else rivals[:1]
    print(f"about {len(named) * len(protocols) * 25} s", flush=True)
    return [profile.profile(protocols, named)]


def _scanners(options: argparse.Namespace) -> list[Path]:
    print("half a minute, and the time to build both twins", flush=True)
    facts = _facts([])
    twins = {name: build.installed(compiled=name == "compiled") for name in scanners.TWINS}
    results = scanners.measure(twins)
    return report.write_plain(
        facts, results, "scanners", "Scanners and transactions without event loop and kernel"
    )


def _mysql(options: argparse.Namespace) -> list[Path]:
    rivals = taking_part(options, "mysql")
    rounds = options.rounds or (2 if options.quick else 3)
    chosen = mysql.loads(quick=options.quick, duration_s=options.duration)
    chosen = [load for load in chosen if options.only in load.title]
    runs = sum(
        relay.turns(rounds, load.goal, name)
        for load in chosen
        for name in ("direct", *(peer.name for peer in rivals))
    )
    print(f"about {runs * (options.duration + 1) / 60:.0f} minutes", flush=True)
    facts = _facts(rivals)
    outcomes = mysql.measure(chosen, rivals, rounds)
    return report.write(facts, outcomes, "mysql", "mysqlrouter")


PARTS: dict[str, Callable[[argparse.Namespace], list[Path]]] = {
    "relay": _relay,
    "burst": _burst,
    "memory": _memory,
    "scale": _scale,
    "mysql": _mysql,
    "mysql-burst": _mysql_burst,
    "mysql-memory": _mysql_memory,
    "scanners": _scanners,
    "profile": _profile,
}
ALL = [name for name in PARTS if name != "profile"]


def main(arguments: list[str]) -> int:
    """Run what is asked for; return the exit code."""
    options = parser().parse_args(arguments)
    if options.part != "all":
        try:
            paths = PARTS[options.part](options)
        except NoServer as reason:
            print(reason)
            return 1
        print("written: " + ", ".join(str(path.relative_to(build.ROOT)) for path in paths))
        return 0
    for part in ALL:
        print(f"=== {part} ===", flush=True)
        try:
            PARTS[part](options)
        except NoServer as reason:
            print(f"  without {part}: {reason}", flush=True)
    return 0
