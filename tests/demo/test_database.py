"""Logging in to the demonstration's database."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from proxy.demo.cluster import Cluster


async def test_login_works_with_the_right_password_only(demo_cluster: Cluster) -> None:
    from proxy.demo.database import FAILURES

    connection = await demo_cluster.login.connect()
    row = await connection.fetchrow("SELECT count(*) AS products FROM product")
    await connection.close()
    assert row is not None
    assert row["products"] == 1000
    with pytest.raises(FAILURES, match="password authentication failed"):
        await replace(demo_cluster.login, password="wrong").connect()


@pytest.mark.usefixtures("demo_packages")
def test_login_does_not_show_its_password() -> None:
    from proxy.demo.database import Login

    assert "hush" not in repr(Login(5432, "app", "hush"))
