"""The goals, and what the newest results on disk say of each."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Goal:
    """A ratio to reach."""

    what: str
    part: str
    """The results' file."""
    case: str
    """The case's title."""
    key: str
    """The number of a peer that is compared."""
    against: str
    goal: float
    ours: str = "tidegate"
    at_least: bool = False


def _relay(what: str, protocol: str, clients: int, goal: float, link: str = "plain") -> Goal:
    case = f"select-only, {protocol}, {clients} clients, {link}"
    key = "p99_us" if what == "latency at p99" else "cpu_us"
    where = "" if link == "plain" else f", {link}"
    title = f"{what}, {protocol}, {clients} clients{where}"
    return Goal(title, "relay", case, key, "pgbouncer", goal)


def _mysql(protocol: str, clients: int) -> Goal:
    case = f"oltp_point_select, {protocol}, {clients} clients"
    title = f"{_CPU}, MySQL point select, {protocol}, {clients} clients"
    return Goal(title, "mysql", case, "cpu_us", "mysqlrouter", 0.35)


def _memory(link: str, count: str) -> Goal:
    case = f"{count} idle clients, {link}"
    return Goal(f"memory per client, {case}", "memory", case, "bytes_per_client", "pgbouncer", 1.0)


_CPU = "CPU per transaction"
GOALS = (
    *(_relay(_CPU, "simple", clients, 1.0) for clients in (16, 64)),
    *(_relay(_CPU, p, clients, 0.8) for p in ("prepared", "extended") for clients in (16, 64)),
    *(_mysql(protocol, clients) for protocol in ("text", "prepared") for clients in (16, 64)),
    *(_relay(_CPU, protocol, 16, 0.9, "TLS to client") for protocol in ("simple", "prepared")),
    Goal(
        "1,000 cold starts at once, TLS + SCRAM: time until the last first query",
        "burst",
        "at once, 1,000 environments, TLS",
        "last_first_ms",
        "pgbouncer",
        0.6,
    ),
    *(_memory("plain", count) for count in ("1,000", "5,000", "15,000")),
    *(_relay("latency at p99", protocol, 16, 1.0) for protocol in ("simple", "prepared")),
    Goal(
        "throughput, 2 workers against 1, 64 clients, prepared",
        "scale",
        "select-only, prepared, 64 clients, plain",
        "transactions_per_s",
        "tidegate-1-workers",
        1.8,
        "tidegate-2-workers",
        at_least=True,
    ),
)


_PARTS = ("relay", "mysql", "burst", "mysql-burst", "memory", "mysql-memory", "scale")


def got(goal: Goal, results: list[dict[str, Any]]) -> str:
    """Return what results say of a goal, or that they do not."""
    for result in results:
        rows = {row["peer"]: row for row in result["peers"]}
        ours, theirs = rows.get(goal.ours), rows.get(goal.against)
        if result["title"] != goal.case or ours is None or theirs is None:
            continue
        if goal.key == "cpu_us" and "cpu_ratio" in ours:
            ratio = ours["cpu_ratio"]
            return f"{ratio['median']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})"
        if goal.key != "cpu_us" and theirs[goal.key] > 0:
            return f"{ours[goal.key] / theirs[goal.key]:.2f}"
    return "not measured"


def summary(folder: Path) -> str:
    """Return a document with every goal and what the results in a folder say of it."""
    parts: dict[str, dict[str, Any]] = {}
    for name in _PARTS:
        path = folder / f"{name}.json"
        if path.exists():
            parts[name] = json.loads(path.read_text())
    lines = ["# Goals and results", ""]
    for name, data in parts.items():
        facts = data["facts"]
        origin = f"{facts['started']}, commit {facts['commit']}, load before {facts['load before']}"
        lines.append(f"- [{name}]({name}.md): {origin}")
    lines += ["", "Ratios in one run: the median of the rounds (and the least and the most).", ""]
    lines += ["| | against | goal | got |", "| --- | --- | --- | --- |"]
    for goal in GOALS:
        found = got(goal, parts.get(goal.part, {}).get("results", []))
        sign = "≥" if goal.at_least else "≤"
        lines.append(f"| {goal.what} | {goal.against} | {sign} {goal.goal} | {found} |")
    return "\n".join(lines) + "\n"
