"""What the summary says of results."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from benchmarks import burst, mysql, relay
from benchmarks.goals import GOALS, Goal, got, summary

if TYPE_CHECKING:
    from pathlib import Path

GOAL = Goal("last", "burst", "storm", "last_first_ms", "pgbouncer", 0.6)


def test_ratio_of_a_number() -> None:
    rows = [{"peer": "tidegate", "last_first_ms": 50}, {"peer": "pgbouncer", "last_first_ms": 100}]
    assert got(GOAL, [{"title": "storm", "peers": rows}]) == "0.50"
    assert got(GOAL, [{"title": "storm", "peers": rows[:1]}]) == "not measured"
    assert got(GOAL, []) == "not measured"


def test_ratio_of_cpu_is_that_of_the_rounds() -> None:
    goal = Goal("cpu", "relay", "a", "cpu_us", "pgbouncer", 1.0)
    ours = {"peer": "tidegate", "cpu_ratio": {"median": 0.9, "low": 0.8, "high": 1.0}}
    results = [{"title": "a", "peers": [ours, {"peer": "pgbouncer"}]}]
    assert got(goal, results) == "0.90 (0.80 to 1.00)"


def test_every_goal_names_a_case_that_is_run() -> None:
    titles = {
        "relay": {case.title for case in relay.cases(quick=False, duration_s=2)},
        "scale": {case.title for case in relay.scale_cases(2)},
        "mysql": {load.title for load in mysql.loads(quick=False, duration_s=2)},
        "burst": {one.title for one in burst.bursts("postgresql", quick=False)},
    }
    for goal in GOALS:
        assert goal.part == "memory" or goal.case in titles[goal.part], goal


def test_summary_names_where_numbers_are_from(tmp_path: Path) -> None:
    facts = {"started": "today", "commit": "abc", "load before": "0.1"}
    (tmp_path / "burst.json").write_text(json.dumps({"facts": facts, "results": []}))
    text = summary(tmp_path)
    assert "[burst](burst.md): today, commit abc" in text
    assert text.count("not measured") == len(GOALS)
