"""What is added to latency, round by round."""

from __future__ import annotations

from benchmarks import latency, peers
from benchmarks.latency import RATE, cases, rows, teams
from benchmarks.pgbench import Sample
from benchmarks.relay import Outcome


def sample(p50_us: float) -> Sample:
    return Sample(
        transactions=1,
        transactions_per_s=2000.0,
        cpu_us=0.0,
        user_share=0.0,
        p50_us=p50_us,
        p99_us=p50_us * 10,
        p999_us=p50_us * 100,
    )


def test_a_round_is_compared_with_the_direct_connections_in_it() -> None:
    outcome = Outcome("case")
    outcome.samples = {
        "direct": {0: sample(100), 1: sample(200), 2: sample(900)},
        # A round that failed for the one counts for neither.
        "tidegate": {0: sample(150), 1: sample(260)},
    }
    direct, tidegate = rows(outcome)
    assert direct["p50_us"] == 200
    assert direct["added_p50_us"] == "-"
    assert tidegate["p99_us"] == 2050
    assert [tidegate[f"added_{key}_us"] for key in ("p50", "p99", "p999")] == [
        "+55",
        "+550",
        "+5,500",
    ]


def test_nothing_is_added_to_what_was_not_measured() -> None:
    outcome = Outcome("case")
    outcome.samples = {"tidegate": {0: sample(150)}}
    assert rows(outcome)[0]["added_p50_us"] == "-"


def test_at_a_fixed_rate_and_at_full_speed() -> None:
    titles = [case.title for case in cases(2, quick=False)]
    assert len(set(titles)) == 4
    assert sum(title.endswith(f"{RATE:,}/s") for title in titles) == 2
    assert all(case.everybody for case in cases(2, quick=False))


def test_who_is_compared() -> None:
    names = [peer.name for peer in teams(peers.POSTGRESQL_PEERS)]
    assert names == ["tidegate", "pgbouncer"]
    assert latency.CLIENTS <= peers.POOL_SIZE
