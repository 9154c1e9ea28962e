"""Logging in to the demonstration's MySQL."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.demo.conftest import Scene


async def test_login_works_with_the_right_password_only(mysql_scene: Scene) -> None:
    from proxy.demo.mysql.database import FAILURES, MysqlLogin

    connection = await mysql_scene.cluster.login.connect()
    row = await connection.fetchrow("SELECT count(*) AS products FROM product")
    await connection.close(timeout=5)
    assert row is not None
    assert row["products"] == 1000
    with pytest.raises(FAILURES, match="Access denied"):
        await MysqlLogin(mysql_scene.cluster.port, "app", "wrong").connect()


async def test_dropping_a_connection_ends_its_wait_for_the_observer(mysql_scene: Scene) -> None:
    observer = await mysql_scene.cluster.superuser_login.connect()
    connection = await mysql_scene.cluster.login.connect()
    asyncio.get_running_loop().call_later(0.05, connection.terminate)
    with pytest.raises(mysql_scene.engine.failures, match="Lost connection"):
        await connection.execute(mysql_scene.engine.linger)
    assert connection.is_closed()
    await observer.close(timeout=5)


@pytest.mark.usefixtures("demo_packages")
def test_login_does_not_show_its_password() -> None:
    from proxy.demo.mysql.database import MysqlLogin

    assert "hush" not in repr(MysqlLogin(3306, "app", "hush"))
