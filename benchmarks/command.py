"""The command line of the suite."""

from __future__ import annotations

import argparse
import time

from benchmarks import build, machine, peers, relay, report


def parser() -> argparse.ArgumentParser:
    """Return the argument parser."""
    made = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    made.add_argument("part", nargs="?", default="relay", choices=["relay"])
    made.add_argument("--quick", action="store_true", help="two minutes instead of everything")
    made.add_argument("--rounds", type=int, default=0, help="times every case is repeated")
    made.add_argument("--duration", type=int, default=3, help="seconds of load per run")
    made.add_argument("--interpreted", action="store_true", help="the interpreted twin too")
    made.add_argument("--only", default="", help="only cases whose title contains this")
    made.add_argument("--peers", default="", help="only these peers, comma separated")
    return made


def _rivals(options: argparse.Namespace) -> list[peers.Peer]:
    wanted = [*peers.POSTGRESQL_PEERS, *([peers.INTERPRETED] if options.interpreted else [])]
    names = [name for name in options.peers.split(",") if name]
    return [peer for peer in wanted if not names or peer.name in names]


def main(arguments: list[str]) -> int:
    """Run what is asked for; return the exit code."""
    options = parser().parse_args(arguments)
    rounds = options.rounds or (2 if options.quick else 5)
    rivals = _rivals(options)
    for name, reason in peers.LEFT_OUT.items():
        print(f"  without {name}: {reason}", flush=True)
    chosen = relay.cases(quick=options.quick, duration_s=options.duration)
    chosen = [case for case in chosen if options.only in case.title]
    estimate_s = relay.length_s(chosen, rounds, len(rivals) + 1)
    print(f"{len(chosen)} cases, {rounds} rounds: about {estimate_s / 60:.0f} minutes", flush=True)
    facts = machine.facts([peer.binary for peer in rivals if peer.binary] + ["pgbench"])
    facts["tidegate"] = build.description(build.installed(compiled=True))
    facts["started"] = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    outcomes = relay.measure(chosen, rivals, rounds)
    paths = report.write(facts, outcomes)
    print("written: " + ", ".join(str(path.relative_to(build.ROOT)) for path in paths))
    return 0
