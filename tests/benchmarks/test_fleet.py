"""When environments start, and what is added up."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmarks import storm
from benchmarks.burst import Burst, bursts, length_s, medians, summarise
from benchmarks.fleet import PROFILES, Login, Plan, Profile, Tally, starts_at


def plan(rate: float, *, offset: int = 0) -> Plan:
    return Plan(
        port=1,
        login=Login(engine="mysql", user="app", password="secret", database="app"),
        profile=Profile("test", 1, 1, 0.0, rate),
        environments=10,
        tls=False,
        begin_s=100.0,
        step=2,
        offset=offset,
    )


def test_all_at_once() -> None:
    assert {starts_at(plan(0.0), number) for number in range(10)} == {100.0}


def test_processes_share_the_rate() -> None:
    starts = sorted(starts_at(plan(10.0, offset=o), n) for o in (0, 1) for n in range(3))
    assert starts == [100.0, 100.1, 100.2, 100.3, 100.4, 100.5]


def test_tallies_add_up() -> None:
    total = Tally([1.0], 1.0, [0.5], Counter(a=1))
    total.add(Tally([2.0], 2.0, [0.25], Counter(a=1, b=1)))
    assert total == Tally([1.0, 2.0], 2.0, [0.5, 0.25], Counter(a=2, b=1))


def test_summary() -> None:
    tally = Tally([0.3, 0.1, 0.2, 0.4], 0.5, [0.01], Counter({"53300 too many": 2}))
    row = summarise("tidegate", tally, 20, 0.004)
    assert row["served"] == 4
    assert row["failures"] == 2
    assert row["first_max_ms"] == 400
    assert row["last_first_ms"] == 500
    assert row["logins_per_s"] == 8
    assert row["cpu_us_per_environment"] == 1000


def test_nobody_served() -> None:
    row = summarise("direct", Tally(), 0, 1.0)
    assert row["logins_per_s"] == 0
    assert row["cpu_us_per_environment"] == 0


def test_rounds_are_summed_up_by_their_medians() -> None:
    rows = [summarise("a", Tally([s], s, []), peak, 0.0) for s, peak in ((1, 5), (9, 7), (2, 6))]
    merged = medians(rows)
    assert merged["last_first_ms"] == 2000
    assert merged["peak_server_connections"] == 6
    assert merged["rounds"] == rows


def test_calm_and_storm_are_told_apart() -> None:
    busy = [(1.0, 0.001), (2.0, 0.002), (2.5, 0.004), (9.0, 5.0)]
    row = storm.summarise("a", busy, (0.5, 1.5), (2.0, 3.0), 1)
    assert row["calm_p99_us"] == pytest.approx(1000)
    assert row["storm_max_us"] == pytest.approx(4000)
    assert row["storm_transactions_per_s"] == 2


def test_bursts_have_titles_of_their_own_and_a_length() -> None:
    titles = [one.title for one in bursts("postgresql", quick=False)]
    assert len(set(titles)) == len(titles)
    assert length_s(bursts("postgresql", quick=True), 1, 4) < 60
    slow = Burst(PROFILES[1], 1000, tls=False)
    assert length_s([slow], 1, 1) > 10
