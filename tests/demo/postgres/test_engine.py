"""What is PostgreSQL's own."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.usefixtures("demo_packages")


def test_errors_are_described_with_their_sqlstate() -> None:
    import asyncpg

    from proxy.demo.postgres.engine import PostgresEngine

    describe = PostgresEngine().describe
    assert describe(asyncpg.TooManyConnectionsError("sorry\nmore")) == "53300 sorry"
    assert describe(TimeoutError()) == "TimeoutError"
    assert len(describe(OSError("long" * 100))) == 100
