"""What the tables say."""

from __future__ import annotations

from benchmarks.pgbench import Sample
from benchmarks.relay import Outcome, cases, length_s
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
        "tidegate": [sample(20.0), sample(30.0)],
        "pgbouncer": [sample(40.0), sample(40.0)],
        "direct": [sample(0.0), sample(0.0)],
    }
    return Outcome("case", samples, {"odyssey": "fell over"})


def test_row_compares_with_the_reference() -> None:
    line = cells(outcome().row("tidegate", "pgbouncer"))
    assert line[:4] == ["tidegate", "25.0 (20.0 to 30.0)", "25%", "0.62 (0.50 to 0.75)"]
    assert cells(outcome().row("direct", "pgbouncer"))[1:4] == ["-", "-", "-"]


def test_no_ratio_where_the_reference_missed_a_round() -> None:
    short = outcome()
    short.samples["pgbouncer"].pop()
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
    assert length_s(quick, 3, 5) <= 240
