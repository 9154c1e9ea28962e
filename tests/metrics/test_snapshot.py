"""When clients may come, and why not."""

from __future__ import annotations

import pytest

from proxy.metrics.counters import EndpointCounters
from proxy.metrics.snapshot import EndpointSnapshot, Snapshot, TargetSnapshot


def target(proxy: str, available: bool, name: str = "db:5432") -> TargetSnapshot:
    return TargetSnapshot(proxy, name, "read_write", 10, available)


def test_ready() -> None:
    assert Snapshot(targets=(target("orders", True),), ready=True).unready_reasons() == []


def test_nothing_is_ready_before_it_listens() -> None:
    assert Snapshot().unready_reasons() == ["not listening yet"]


def test_every_reason_is_given() -> None:
    snapshot = Snapshot(targets=(target("orders", False), target("carts", True)), draining=True)
    assert snapshot.unready_reasons() == [
        "draining",
        "not listening yet",
        "proxy orders: no target available",
    ]


def test_one_available_target_is_enough() -> None:
    targets = (target("orders", False, "a:1"), target("orders", True, "b:1"))
    assert Snapshot(targets=targets, ready=True).unready_reasons() == []


@pytest.mark.parametrize(
    ("proxy", "reasons"),
    [
        ("orders", ["proxy orders: no target available"]),
        ("carts", []),
        ("listening", []),
        ("nobody", ["no such proxy"]),
    ],
)
def test_one_proxy(proxy: str, reasons: list[str]) -> None:
    endpoint = EndpointSnapshot("listening", "127.0.0.1:1", "read_write", EndpointCounters())
    snapshot = Snapshot(
        endpoints=(endpoint,),
        targets=(target("orders", False), target("carts", True)),
        ready=True,
    )
    assert snapshot.unready_reasons(proxy) == reasons
