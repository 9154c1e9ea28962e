"""The exposition, read back with Prometheus' own parser."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from proxy.metrics.prometheus import OTHER, Exposition, TidegateCollector
from proxy.metrics.snapshot import PoolSnapshot, Snapshot
from tests.metrics import sample

OPERATIONS = Path(__file__).resolve().parents[2] / "docs" / "operations.md"

ENDPOINT = {"proxy": "orders", "endpoint": "main", "target_role": "read_write"}
TARGET = {"proxy": "orders", "target": "db:5432", "target_role": "read_write"}
POOL = {**TARGET, "database": "shop", "user": "app"}

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]

EXPECTED = [
    ("client_connections", ENDPOINT, 11),
    ("client_connections_tls", ENDPOINT, 7),
    ("client_connections_no_tls", ENDPOINT, 4),
    ("client_connections_received_total", ENDPOINT, 105),
    ("client_connections_setup_succeeded_total", ENDPOINT, 96),
    ("client_connections_setup_failed_auth_total", ENDPOINT, 6),
    ("client_connections_setup_failed_other_total", ENDPOINT, 3),
    ("client_connections_closed_total", {**ENDPOINT, "reason": "client_left"}, 90),
    ("client_connections_closed_total", {**ENDPOINT, "reason": "idle"}, 4),
    ("availability", TARGET, 1),
    ("max_database_connections_allowed", TARGET, 20),
    ("clients_waiting", POOL, 13),
    ("database_connections", POOL, 12),
    ("database_connections_with_tls", POOL, 10),
    ("database_connections_idle", POOL, 2),
    ("database_connections_connecting", POOL, 3),
    ("database_connections_currently_borrowed", POOL, 9),
    ("database_connections_currently_in_transaction", POOL, 6),
    ("database_connections_currently_session_pinned", POOL, 1),
    ("database_connection_requests_total", POOL, 1001),
    ("database_connection_requests_with_tls_total", POOL, 501),
    ("database_connections_borrow_timeouts_total", POOL, 2),
    ("database_connections_setup_succeeded_total", POOL, 21),
    ("database_connections_setup_failed_total", POOL, 5),
    ("database_connections_closed_total", {**POOL, "reason": "lifetime"}, 9),
    ("cancels_total", POOL, 8),
    ("query_requests_total", {**POOL, "tls": "true"}, 1002),
    ("query_requests_total", {**POOL, "tls": "false"}, 1000),
    ("session_pins_total", {**POOL, "reason": "temporary_table"}, 3),
    ("session_pins_total", {**POOL, "reason": "listen"}, 1),
    ("database_connections_borrow_latency_seconds_count", POOL, 4),
    ("database_connections_borrow_latency_seconds_sum", POOL, 500.20024),
    ("database_connections_borrow_latency_seconds_bucket", {**POOL, "le": "5e-05"}, 1),
    ("database_connections_borrow_latency_seconds_bucket", {**POOL, "le": "0.00025"}, 2),
    ("database_connections_borrow_latency_seconds_bucket", {**POOL, "le": "120.0"}, 3),
    ("database_connections_borrow_latency_seconds_bucket", {**POOL, "le": "+Inf"}, 4),
    ("query_response_latency_seconds_count", POOL, 2),
    ("query_database_response_latency_seconds_count", POOL, 1),
    ("build_info", {"version": "1.2.3", "python": "3.13"}, 1),
    ("ready", {}, 1),
    ("draining", {}, 0),
    ("log_records_dropped_total", {}, 17),
]


def page(exposition: Exposition) -> str:
    return b"".join(exposition.pieces()).decode()


def samples(text: str) -> Samples:
    return {
        (found.name, frozenset(found.labels.items())): found.value
        for family in text_string_to_metric_families(text)
        for found in family.samples
    }


def only(text: str, name: str) -> dict[frozenset[tuple[str, str]], float]:
    return {labels: value for (found, labels), value in samples(text).items() if found == name}


@pytest.fixture(scope="module")
def text() -> str:
    return page(Exposition(sample.snapshot))


@pytest.mark.parametrize(("name", "labels", "value"), EXPECTED)
def test_every_number_has_its_place(
    text: str, name: str, labels: dict[str, str], value: float
) -> None:
    found = samples(text)[f"tidegate_{name}", frozenset(labels.items())]
    assert found == pytest.approx(value)


def test_process_metrics(text: str) -> None:
    assert only(text, "process_resident_memory_bytes")
    assert only(text, "process_open_fds")


def test_an_empty_process() -> None:
    text = page(Exposition(Snapshot))
    assert only(text, "tidegate_ready") == {frozenset(): 0}
    assert not only(text, "tidegate_clients_waiting")


def test_the_snapshot_is_fresh_each_time() -> None:
    current = sample.snapshot()
    exposition = Exposition(lambda: current)
    page(exposition)
    current.pools[0].counters.cancels += 1
    assert list(only(page(exposition), "tidegate_cancels_total").values()) == [9]


def crowd(count: int) -> tuple[PoolSnapshot, ...]:
    return tuple(sample.pool(database=f"db{number}") for number in range(count))


def test_pieces_are_small_and_make_one_valid_page() -> None:
    exposition = Exposition(lambda: sample.snapshot(*crowd(60)))
    pieces = list(exposition.pieces())
    assert max(piece.count(b"\n") for piece in pieces) <= 110
    text = b"".join(pieces).decode()
    types = [line for line in text.splitlines() if line.startswith("# TYPE ")]
    assert len(types) == len(set(types))
    name = "tidegate_query_response_latency_seconds_bucket"
    assert len(only(text, name)) == 60 * 22


def test_the_collector_and_the_page_agree() -> None:
    registry = CollectorRegistry()
    registry.register(TidegateCollector(lambda: sample.snapshot(*crowd(20))))
    whole = samples(generate_latest(registry).decode())
    pieced = samples(page(Exposition(lambda: sample.snapshot(*crowd(20)))))
    assert whole == {key: value for key, value in pieced.items() if key[0].startswith("tidegate_")}


def test_hostile_names_stay_inside_their_label() -> None:
    name = 'a"} 1\ntidegate_cancels_total{user="root\\'
    text = page(Exposition(lambda: sample.snapshot(sample.pool(user=name))))
    (labels,) = only(text, "tidegate_cancels_total")
    assert dict(labels)["user"] == name


def test_pools_beyond_the_limit_share_one_series() -> None:
    text = page(Exposition(lambda: sample.snapshot(*crowd(5)), max_labelled_pools=3))
    by_database = {
        dict(labels)["database"]: value
        for labels, value in only(text, "tidegate_database_connections").items()
    }
    assert by_database == {"db0": 12, "db1": 12, "db2": 12, OTHER: 24}
    name = "tidegate_query_response_latency_seconds_count"
    shared = [v for labels, v in only(text, name).items() if dict(labels)["database"] == OTHER]
    assert shared == [4]
    pins = only(text, "tidegate_session_pins_total")
    assert sorted(pins.values()) == [1, 1, 1, 2, 3, 3, 3, 6]


def test_a_pool_never_changes_sides() -> None:
    pools = list(crowd(3))
    exposition = Exposition(lambda: sample.snapshot(*pools), max_labelled_pools=2)

    def labelled() -> set[str]:
        found = only(page(exposition), "tidegate_clients_waiting")
        return {dict(labels)["database"] for labels in found}

    assert labelled() == {"db0", "db1", OTHER}
    pools.reverse()
    assert labelled() == {"db0", "db1", OTHER}
    del pools[2]
    assert labelled() == {"db1", OTHER}
    pools.append(sample.pool(database="new"))
    assert labelled() == {"db1", "new", OTHER}


def test_every_metric_is_documented(text: str) -> None:
    documented = OPERATIONS.read_text()
    for line in text.splitlines():
        if line.startswith("# TYPE tidegate_"):
            assert f"`{line.split()[2]}`" in documented


def test_several_processes_have_series_of_their_own() -> None:
    processes = {"supervisor": os.getpid(), "1": os.getpid()}
    text = page(Exposition(lambda: replace(sample.snapshot(), processes=processes)))
    for name in processes:
        assert f'\nprocess_open_fds{{worker="{name}"}} ' in text
    assert text.count("# TYPE process_open_fds ") == 1
