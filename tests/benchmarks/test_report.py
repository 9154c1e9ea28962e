"""What the tables say."""

from __future__ import annotations

from dataclasses import asdict

from benchmarks.figures import spread
from benchmarks.pgbench import Sample
from benchmarks.relay import Outcome, cases, length_s, turns
from benchmarks.report import cells, markdown


def sample(cpu_us: float) -> Sample:
    return Sample(
        transactions=10,
        transactions_per_s=1234.0,
        cpu_us=cpu_us,
        user_share=0.25,
        p50_us=100.0,
        p99_us=200.0,
        p999_us=300.0,
    )


def outcome() -> Outcome:
    samples = {
        "tidegate": {0: sample(20.0), 1: sample(30.0)},
        "pgbouncer": {0: sample(40.0), 1: sample(40.0)},
        "direct": {0: sample(0.0), 1: sample(0.0)},
    }
    return Outcome("case", samples, {"odyssey": "fell over"})


def test_row_compares_with_the_reference() -> None:
    line = cells(outcome().row("tidegate", "pgbouncer"))
    assert line[:4] == ["tidegate", "25.0 (20.0 to 30.0)", "25%", "0.62 (0.50 to 0.75)"]
    assert cells(outcome().row("direct", "pgbouncer"))[1:4] == ["-", "-", "-"]


def test_only_rounds_in_which_both_ran_are_compared() -> None:
    short = outcome()
    del short.samples["pgbouncer"][0]
    assert short.row("tidegate", "pgbouncer")["cpu_ratio"] == asdict(spread([0.75]))
    del short.samples["pgbouncer"][1]
    assert "cpu_ratio" not in short.row("tidegate", "pgbouncer")


def test_document_has_facts_and_failures() -> None:
    rows = [outcome().row(name, "pgbouncer") for name in outcome().samples]
    result = {"title": "case", "peers": rows, "failures": outcome().failures}
    text = markdown({"commit": "abc"}, [result])
    assert "- commit: abc" in text
    assert "odyssey failed: fell over" in text
    assert text.count("\n| ") == 5


def test_cases_have_titles_of_their_own() -> None:
    titles = [case.title for case in cases(quick=False, duration_s=4)]
    assert len(set(titles)) == len(titles)
    quick = cases(quick=True, duration_s=2)
    assert length_s(quick, 3, ["direct", "tidegate", "pgbouncer", "odyssey"]) <= 240


def test_who_a_goal_compares_has_more_turns() -> None:
    assert turns(4, True, "tidegate-2-workers") == turns(4, True, "pgbouncer") == 4
    assert turns(4, True, "odyssey") == turns(4, False, "tidegate") == 2
    assert turns(4, False, "odyssey") == turns(1, False, "haproxy") == 1
