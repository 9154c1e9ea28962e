"""Logging in to the demonstration's database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.demo.conftest import Scene


async def test_login_works_with_the_right_password_only(postgres_scene: Scene) -> None:
    from proxy.demo.postgres.database import FAILURES, PostgresLogin

    connection = await postgres_scene.cluster.login.connect()
    row = await connection.fetchrow("SELECT count(*) AS products FROM product")
    await connection.close()
    assert row is not None
    assert row["products"] == 1000
    with pytest.raises(FAILURES, match="password authentication failed"):
        await PostgresLogin(postgres_scene.cluster.port, "app", "wrong").connect()


@pytest.mark.usefixtures("demo_packages")
def test_login_does_not_show_its_password() -> None:
    from proxy.demo.postgres.database import PostgresLogin

    assert "hush" not in repr(PostgresLogin(5432, "app", "hush"))
