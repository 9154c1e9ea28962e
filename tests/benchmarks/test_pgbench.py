"""Reading pgbench's log, and what is made of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from benchmarks.accounting import Usage
from benchmarks.pgbench import Load, Server, command, summarise, transactions_between

LOG = ["0 1 900 0 100 500000", "1 1 100 0 101 0", "0 2 300 0 101 999999", "0 3 200 0 102 0", "1 2"]


def test_counts_what_ended_in_the_span() -> None:
    assert transactions_between(LOG, 101.0, 102.0) == [100, 300]
    assert transactions_between(LOG, 0.0, 1000.0) == [100, 200, 300, 900]
    assert transactions_between(["0 1 failed 0 101 0"], 0.0, 1000.0) == []


def test_divides_cpu_by_transactions() -> None:
    sample = summarise([100.0, 300.0], 2.0, Usage(0.0001, 0.25, 0.75))
    assert sample.cpu_us == 50
    assert sample.transactions_per_s == 1
    assert sample.user_share == 0.25
    assert sample.p50_us == 300


def test_direct_connections_have_no_proxy_to_count() -> None:
    assert summarise([1.0], 1.0, None).cpu_us == 0
    assert summarise([], 1.0, Usage(1.0, 1.0, 1.0)).cpu_us == 0


def test_scripts_of_ours_and_of_pgbench() -> None:
    server = Server(Path("/bin/pgbench"), "app", "secret", "app")
    line = command(Load(script="/x.sql", protocol="simple", clients=1), server, 1, "p")
    assert line[line.index("/x.sql") - 1] == "-f"
    line = command(Load(script="select-only", protocol="simple", clients=9), server, 1, "p")
    assert line[line.index("select-only") - 1] == "-b"
    assert "secret" not in line


def test_logins_do_not_eat_the_time_of_the_load() -> None:
    load = Load(script="select-only", protocol="simple", clients=256, duration_s=2)
    assert load.whole_s >= 7
    assert (load.unit, load.units) == ("transaction", 1)


def test_copy_is_counted_by_the_megabyte() -> None:
    load = Load(script="copy-in", protocol="psycopg", clients=4, duration_s=2)
    assert (load.unit, load.units) == ("MB", 8)
    line = command(load, Server(Path("/bin/pgbench"), "app", "secret", "app"), 1, "p")
    assert line[1:4] == ["-m", "benchmarks.driver", "copy-in"]
    assert summarise([100.0], 2.0, Usage(0.0008, 0.0, 0.0), load.units).cpu_us == 100


def test_a_rate_is_a_schedule() -> None:
    server = Server(Path("/bin/pgbench"), "app", "secret", "app")
    steady = Load(script="select-only", protocol="simple", clients=16, rate=2000)
    line = command(steady, server, 1, "p")
    assert line[line.index("-R") + 1] == "2000"
    assert "-R" not in command(replace(steady, rate=0), server, 1, "p")
