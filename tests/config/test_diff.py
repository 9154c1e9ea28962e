"""What a reload changes, and what it cannot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings

from proxy.config.diff import Change, applied, compare
from proxy.config.load import parse
from tests.config.sample import SMALL, with_group, with_process, with_proxy
from tests.config.test_show import configurations

if TYPE_CHECKING:
    from proxy.config.model import Config

OTHER = SMALL.replace("orders", "stock").replace("6432", "6433")
ENDPOINT = '[[proxy.orders.endpoint]]\nlisten = "unix:/a"\nrole = "read_only"\n'


def config(text: str) -> Config:
    return parse(text, source="")


def changes(old: str, new: str) -> list[Change]:
    return compare(config(old), config(new))


def test_nothing_changed() -> None:
    assert changes(SMALL, SMALL) == []
    assert changes(SMALL, with_process("workers = 1")) == []


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            SMALL,
            with_process('log_format = "json"'),
            Change("process.log_format", '"text"', '"json"', live=True),
        ),
        (
            SMALL,
            with_process('admin_listen = ""'),
            Change("process.admin_listen", '"127.0.0.1:9127"', '""', live=False),
        ),
        (
            SMALL,
            with_group("max_connections = 5"),
            Change("proxy.orders.target_group.max_connections", "0", "5", live=True),
        ),
        (
            with_group('pool_mode = "session"'),
            SMALL,
            Change("proxy.orders.target_group.pool_mode", '"session"', '"transaction"', live=False),
        ),
        (
            SMALL,
            with_proxy("debug_logging = true"),
            Change("proxy.orders.debug_logging", "false", "true", live=True),
        ),
        (
            SMALL,
            SMALL + "port = 5433\n",
            Change("proxy.orders.target[0].port", "0", "5433", live=False),
        ),
        (
            SMALL,
            SMALL.replace("env:APP_PASSWORD", "static:hunter2"),
            Change(
                "proxy.orders.auth[0].credential",
                '"env:APP_PASSWORD"',
                '"static:***"',
                live=True,
            ),
        ),
        (
            SMALL.replace("env:APP_PASSWORD", "static:hunter1"),
            SMALL.replace("env:APP_PASSWORD", "static:hunter2"),
            Change("proxy.orders.auth[0].credential", '"static:***"', '"static:***"', live=True),
        ),
        (SMALL, SMALL + OTHER, Change("proxy.stock", "", "a table", live=False)),
        (SMALL + OTHER, SMALL, Change("proxy.stock", "a table", "", live=False)),
        (
            SMALL,
            SMALL + ENDPOINT,
            Change(
                "proxy.orders.endpoint[1]",
                "",
                '{listen = "unix:/a", role = "read_only"}',
                live=False,
            ),
        ),
        (
            SMALL + ENDPOINT,
            SMALL,
            Change(
                "proxy.orders.endpoint[1]",
                '{listen = "unix:/a", role = "read_only"}',
                "",
                live=False,
            ),
        ),
        (
            SMALL,
            SMALL + '[[proxy.orders.auth]]\nuser = "b"\ncredential = "static:hunter2"\n',
            Change(
                "proxy.orders.auth[1]",
                "",
                '{user = "b", credential = "static:***"}',
                live=True,
            ),
        ),
    ],
)
def test_a_change_is_named_and_judged(old: str, new: str, expected: Change) -> None:
    assert changes(old, new) == [expected]


def test_only_live_changes_are_applied() -> None:
    old = config(SMALL)
    new = config(
        '[process]\nworkers = 0\nlog_format = "json"\n'
        "[proxy.orders]\ndebug_logging = true\n"
        '[proxy.orders.target_group]\npool_mode = "session"\ninit_query = "SET a = 1"\n'
        + SMALL.replace("127.0.0.1:6432", "127.0.0.1:6439").replace("app", "web")
        + '[[proxy.orders.auth]]\nuser = "b"\ncredential = "env:B"\n'
        + ENDPOINT
        + OTHER
    )
    running = applied(old, new)
    assert (running.process.workers, running.process.log_format) == (1, "json")
    assert list(running.proxy) == ["orders"]
    proxy = running.proxy["orders"]
    assert proxy.name == "orders"
    assert proxy.debug_logging
    assert (proxy.target_group.pool_mode, proxy.target_group.init_query) == (
        "transaction",
        "SET a = 1",
    )
    assert [endpoint.listen for endpoint in proxy.endpoint] == ["127.0.0.1:6432"]
    assert [entry.user for entry in proxy.auth] == ["web", "b"]
    assert [change.path for change in compare(running, new)] == [
        "process.workers",
        "proxy.orders.endpoint[0].listen",
        "proxy.orders.endpoint[1]",
        "proxy.orders.target_group.pool_mode",
        "proxy.stock",
    ]


def test_what_goes_is_kept_until_a_restart_or_goes_at_once() -> None:
    auth = '[[proxy.orders.auth]]\nuser = "b"\ncredential = "env:B"\n'
    old = config(SMALL + auth + ENDPOINT + OTHER)
    running = applied(old, config(SMALL))
    assert list(running.proxy) == ["orders", "stock"]
    assert len(running.proxy["orders"].endpoint) == 2
    assert [entry.user for entry in running.proxy["orders"].auth] == ["app"]


@given(configurations(), configurations())
@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow])
def test_applying_leaves_what_needs_a_restart(old: Config, new: Config) -> None:
    found = compare(old, new)
    assert (not found) == (old == new)
    running = applied(old, new)
    assert compare(running, new) == [change for change in found if not change.live]
    assert compare(old, running) == [change for change in found if change.live]
