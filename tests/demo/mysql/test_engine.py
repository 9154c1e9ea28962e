"""What is MySQL's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from proxy.demo.engine import Census

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.demo.engine import Connection

pytestmark = pytest.mark.usefixtures("demo_packages")


def test_errors_are_described_with_their_number() -> None:
    import aiomysql

    from proxy.demo.mysql.engine import MysqlEngine

    describe = MysqlEngine().describe
    assert describe(aiomysql.OperationalError(1040, "Too many\nmore")) == "1040 Too many"
    assert describe(aiomysql.InterfaceError("(0, 'Not connected')")) == "(0, 'Not connected')"
    assert describe(ConnectionRefusedError(111, "no")) == "[Errno 111] no"
    assert describe(TimeoutError()) == "TimeoutError"


class ProcessList:
    """Answers with one process list after the other: number of the connection to busy or not."""

    def __init__(self, *lists: dict[int, int]) -> None:
        self._lists = iter(lists)

    async def fetch(self, query: str, user: str) -> list[Mapping[str, int]]:
        assert user == "app"
        return [{"id": number, "busy": busy} for number, busy in next(self._lists).items()]


async def test_who_has_just_come_and_goes_at_once_is_not_counted() -> None:
    from proxy.demo.mysql.engine import MysqlObserver

    lists = ProcessList({1: 0, 2: 1}, {1: 1, 2: 0, 3: 1}, {1: 1, 2: 1, 4: 0}, {1: 0, 4: 1})
    observer = MysqlObserver(cast("Connection", lists))
    assert [await observer.count() for _ in range(4)] == [
        Census(open=2, busy=1),
        Census(open=2, busy=1),
        Census(open=2, busy=2),
        Census(open=2, busy=1),
    ]
