"""The engines: each has its SQL, and the database answers it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxy.demo.engine import ENGINES, REQUIRED, choose, first_line

if TYPE_CHECKING:
    from proxy.demo.engine import Connection, Engine
    from tests.demo.conftest import Scene


@pytest.mark.usefixtures("demo_packages")
@pytest.mark.parametrize("name", ENGINES)
def test_every_engine_can_be_chosen(name: str) -> None:
    assert choose(name).name == name
    assert REQUIRED[name]


def test_first_line_of_an_error() -> None:
    assert first_line(ValueError("sorry\nmore")) == "sorry"
    assert first_line(TimeoutError()) == "TimeoutError"


async def test_each_query_answers_the_environment(scene: Scene) -> None:
    engine = scene.engine
    await scene.cluster.reset()
    connection = await scene.cluster.login.connect()
    try:
        for row in (
            await connection.fetchrow(engine.look, 71, 5),
            await connection.fetchrow(engine.slow, 71, 0.001),
            await engine.order(connection, 5, 71),
        ):
            assert row is not None
            assert row["environment"] == 71
        await connection.execute(engine.take, 5)
        rows = await connection.fetch("SELECT id FROM product WHERE stock < 1000000")
        assert [row["id"] for row in rows] == [5]
        rows = await connection.fetch("SELECT product FROM purchase WHERE environment = 71")
        assert [row["product"] for row in rows] == [5]
    finally:
        await connection.close(timeout=5)


async def fail_in_a_transaction(engine: Engine, connection: Connection) -> None:
    async with connection.transaction():
        await engine.order(connection, 5, 71)
        await connection.execute("SELECT nothing_of_the_kind")


async def test_a_failed_transaction_is_rolled_back(scene: Scene) -> None:
    await scene.cluster.reset()
    connection = await scene.cluster.login.connect()
    try:
        with pytest.raises(scene.engine.failures) as failed:
            await fail_in_a_transaction(scene.engine, connection)
        assert "nothing_of_the_kind" in scene.engine.describe(failed.value)
        assert not await connection.fetch("SELECT product FROM purchase")
        assert not connection.is_closed()
    finally:
        connection.terminate()
    assert connection.is_closed()
