"""Python drivers with their default settings, direct and through a pool of five."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import decimal
import io
import uuid
from typing import TYPE_CHECKING, Any

import asyncpg
import pg8000.dbapi
import pg8000.native
import psycopg
import psycopg2
import psycopg2.extras
import pytest
from psycopg.conninfo import conninfo_to_dict

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.conftest import Place

USED_OFTEN = 12
"""Runs of one statement: past every driver's threshold for preparing it (psycopg's is 5)."""


def asyncpg_options(place: Place) -> dict[str, Any]:
    """Give what ``asyncpg.connect`` needs."""
    info = conninfo_to_dict(place.conninfo())
    names = {"host": "host", "port": "port", "user": "user", "dbname": "database"}
    options = {theirs: info[ours] for ours, theirs in names.items()}
    return {**options, "password": info["password"]}


@contextlib.asynccontextmanager
async def asyncpg_connection(place: Place) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(**asyncpg_options(place))
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture
def table(place: Place) -> Iterator[str]:
    """A table that is new for each test."""
    name = f"drivers_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(place.conninfo(), autocommit=True) as connection:
        connection.execute(f"CREATE TABLE {name} (id int PRIMARY KEY, name text)".encode())
        yield name
        connection.execute(f"DROP TABLE {name}".encode())


async def test_asyncpg_types_and_cached_statements(place: Place) -> None:
    values = (
        7,
        "text é",
        1.5,
        decimal.Decimal("12.50"),
        datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.UTC),
        b"\x00\xff",
        [1, None, 3],
        uuid.UUID(int=5),
        None,
    )
    query = (
        "SELECT $1::int, $2::text, $3::float8, $4::numeric, $5::timestamptz, $6::bytea,"
        " $7::int[], $8::uuid, $9::text"
    )
    async with asyncpg_connection(place) as connection:
        for _ in range(USED_OFTEN):
            assert tuple(await connection.fetchrow(query, *values)) == values


async def test_asyncpg_more_statements_than_its_cache(place: Place) -> None:
    async with asyncpg_connection(place) as connection:
        for _ in range(2):
            for n in range(130):
                assert await connection.fetchval(f"SELECT $1::int + {n}", 1) == n + 1


async def test_asyncpg_transactions(place: Place, table: str) -> None:
    async with asyncpg_connection(place) as connection:
        async with connection.transaction():
            await connection.execute(f"INSERT INTO {table} VALUES ($1, $2)", 1, "one")
            with pytest.raises(asyncpg.UniqueViolationError):
                async with connection.transaction():
                    await connection.execute(f"INSERT INTO {table} VALUES (1, 'again')")
            await connection.execute(f"INSERT INTO {table} VALUES (2, 'two')")
        with contextlib.suppress(ZeroDivisionError):
            async with connection.transaction():
                await connection.execute(f"DELETE FROM {table}")
                raise ZeroDivisionError
        assert await connection.fetch(f"SELECT * FROM {table} ORDER BY id") == [
            (1, "one"),
            (2, "two"),
        ]


async def test_asyncpg_cursor_many_and_copy(place: Place, table: str) -> None:
    rows = [(n, f"name {n}") for n in range(500)]
    async with asyncpg_connection(place) as connection:
        await connection.executemany(f"INSERT INTO {table} VALUES ($1, $2)", rows[:250])
        status = await connection.copy_records_to_table(table, records=rows[250:])
        assert status == "COPY 250"
        async with connection.transaction():
            walk = connection.cursor(f"SELECT * FROM {table} ORDER BY id", prefetch=37)
            assert [tuple(row) async for row in walk] == rows
        out = io.BytesIO()
        await connection.copy_from_query(f"SELECT * FROM {table}", output=out, format="csv")
        assert out.getvalue().count(b"\n") == 500


async def test_asyncpg_listens(place: Place) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    async with asyncpg_connection(place) as listener, asyncpg_connection(place) as speaker:
        await listener.add_listener("news", lambda *notice: heard.put_nowait(notice[3]))
        await speaker.execute("SELECT pg_notify('news', 'from another')")
        assert await asyncio.wait_for(heard.get(), 10) == "from another"
        await listener.execute("NOTIFY news, 'from itself'")
        assert await asyncio.wait_for(heard.get(), 10) == "from itself"


async def test_asyncpg_schema_change_under_a_cached_statement(place: Place, table: str) -> None:
    async with asyncpg_connection(place) as connection, asyncpg_connection(place) as changer:
        query = f"SELECT * FROM {table}"
        await connection.execute(f"INSERT INTO {table} VALUES (1, 'one')")
        assert len(await connection.fetchrow(query)) == 2
        await changer.execute(f"ALTER TABLE {table} ADD COLUMN extra int")
        # Outside a transaction asyncpg answers "cached plan must not change result type" by
        # preparing again; the application sees nothing.
        assert len(await connection.fetchrow(query)) == 3


async def test_asyncpg_errors(place: Place) -> None:
    async with asyncpg_connection(place) as connection:
        with pytest.raises(asyncpg.UndefinedColumnError) as caught:
            await connection.fetch("SELECT nosuch")
        assert caught.value.position == "8"
        with pytest.raises(asyncpg.DivisionByZeroError):
            await connection.fetch("SELECT 1 / $1::int", 0)
        assert await connection.fetchval("SELECT 1") == 1


async def test_asyncpg_pool_larger_than_the_pool_behind(place: Place, table: str) -> None:
    options = asyncpg_options(place)
    async with asyncpg.create_pool(**options, min_size=20, max_size=20) as pool:

        async def work(n: int) -> None:
            async with pool.acquire() as connection, connection.transaction():
                await connection.execute(f"INSERT INTO {table} VALUES ($1, $2)", n, str(n))

        await asyncio.gather(*(work(n) for n in range(200)))
        assert await pool.fetchval(f"SELECT count(*) FROM {table}") == 200


async def test_asyncpg_timeout_cancels(place: Place) -> None:
    async with asyncpg_connection(place) as connection:
        with pytest.raises(TimeoutError):
            await connection.execute("SELECT pg_sleep(30)", timeout=0.3)
        assert await connection.fetchval("SELECT 1") == 1


def test_psycopg_prepares_by_itself(place: Place, table: str) -> None:
    with psycopg.connect(place.conninfo()) as connection:
        for n in range(USED_OFTEN):
            connection.execute(f"INSERT INTO {table} VALUES (%s, %s)".encode(), (n, str(n)))
            connection.commit()
        found = connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
        assert found == (USED_OFTEN,)


def test_psycopg_more_statements_than_its_cache(place: Place) -> None:
    with psycopg.connect(place.conninfo(), autocommit=True, prepare_threshold=0) as connection:
        for _ in range(2):
            for n in range(130):
                row = connection.execute(f"SELECT %s::int + {n}".encode(), (1,)).fetchone()
                assert row == (n + 1,)


def test_psycopg_deallocate_all_by_a_rollback_of_prepare(place: Place) -> None:
    # psycopg forgets its statements, and sends DEALLOCATE ALL, when a DDL or a rollback might
    # have made them invalid.
    with psycopg.connect(place.conninfo(), prepare_threshold=0) as connection:
        for _ in range(3):
            connection.execute("CREATE TEMP TABLE scratch (x int) ON COMMIT DROP")
            connection.execute("SELECT %s::int", (1,))
            connection.rollback()
            assert connection.execute("SELECT %s::int", (2,)).fetchone() == (2,)
            connection.commit()


def test_psycopg_nested_transactions(place: Place, table: str) -> None:
    with psycopg.connect(place.conninfo(), autocommit=True) as connection:
        with connection.transaction():
            connection.execute(f"INSERT INTO {table} VALUES (1, 'kept')".encode())
            with contextlib.suppress(psycopg.errors.DivisionByZero), connection.transaction():
                connection.execute(f"INSERT INTO {table} VALUES (2, 'lost')".encode())
                connection.execute("SELECT 1/0")
        found = connection.execute(f"SELECT name FROM {table}".encode()).fetchall()
        assert found == [("kept",)]


def test_psycopg_pipeline(place: Place, table: str) -> None:
    with psycopg.connect(place.conninfo(), autocommit=True, prepare_threshold=0) as connection:
        with connection.pipeline() as pipeline:
            for n in range(100):
                connection.execute(f"INSERT INTO {table} VALUES (%s, 'x')".encode(), (n,))
                if n % 10 == 0:
                    pipeline.sync()
            cursor = connection.execute(f"SELECT count(*) FROM {table}".encode())
            assert cursor.fetchone() == (100,)
        with pytest.raises(psycopg.errors.UniqueViolation), connection.pipeline():
            connection.execute(f"INSERT INTO {table} VALUES (1, 'x')".encode())
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_psycopg_server_cursor_and_copy(place: Place, table: str) -> None:
    with psycopg.connect(place.conninfo()) as connection:
        copy_in = f"COPY {table} FROM STDIN".encode()
        with connection.cursor() as cursor, cursor.copy(copy_in) as copy:
            for n in range(1000):
                copy.write_row((n, "x" * 100))
        with connection.cursor(name="walk") as walker:
            walker.itersize = 77
            walker.execute(f"SELECT id FROM {table} ORDER BY id".encode())
            assert [n for (n,) in walker] == list(range(1000))
        copy_out = f"COPY {table} TO STDOUT".encode()
        with connection.cursor() as cursor, cursor.copy(copy_out) as copy:
            assert sum(1 for _ in copy.rows()) == 1000


def test_psycopg_notices_and_diagnostics(place: Place) -> None:
    notices: list[str | None] = []
    with psycopg.connect(place.conninfo(), autocommit=True) as connection:
        connection.add_notice_handler(lambda notice: notices.append(notice.message_primary))
        connection.execute("DO $$ BEGIN RAISE NOTICE 'heard'; END $$")
        assert notices == ["heard"]
        with pytest.raises(psycopg.errors.UndefinedTable) as caught:
            connection.execute("SELECT * FROM nosuch WHERE x = %s", (1,))
        assert caught.value.diag.statement_position == "15"


def test_psycopg_notifies(place: Place) -> None:
    with psycopg.connect(place.conninfo(), autocommit=True) as connection:
        connection.execute("LISTEN gossip")
        with psycopg.connect(place.conninfo(), autocommit=True) as speaker:
            speaker.execute("NOTIFY gossip, 'psst'")
        heard = list(connection.notifies(timeout=10, stop_after=1))
        assert [notice.payload for notice in heard] == ["psst"]


async def test_psycopg_async(place: Place, table: str) -> None:
    async with await psycopg.AsyncConnection.connect(place.conninfo()) as connection:
        for n in range(USED_OFTEN):
            await connection.execute(f"INSERT INTO {table} VALUES (%s, 'x')".encode(), (n,))
        await connection.commit()
        async with connection.pipeline():
            first = await connection.execute("SELECT 1")
            second = await connection.execute("SELECT 2")
        assert await first.fetchone() == (1,)
        assert await second.fetchone() == (2,)


async def test_psycopg_async_many_connections(place: Place) -> None:
    async def work(n: int) -> int:
        async with await psycopg.AsyncConnection.connect(
            place.conninfo(), autocommit=True, prepare_threshold=0
        ) as connection:
            total = 0
            for _ in range(5):
                cursor = await connection.execute("SELECT %s::int", (n,))
                row = await cursor.fetchone()
                assert row is not None
                total += row[0]
            return total

    assert await asyncio.gather(*(work(n) for n in range(30))) == [5 * n for n in range(30)]


def test_psycopg2(place: Place, table: str) -> None:
    connection = psycopg2.connect(place.conninfo())
    try:
        with connection, connection.cursor() as cursor:
            rows = [(n, "x") for n in range(300)]
            psycopg2.extras.execute_values(cursor, f"INSERT INTO {table} VALUES %s", rows)
        with connection, connection.cursor(name="walk") as walker:
            walker.itersize = 50
            walker.execute(f"SELECT id FROM {table} ORDER BY id")
            assert [n for (n,) in walker] == list(range(300))
        with connection, connection.cursor() as cursor:
            out = io.StringIO()
            cursor.copy_expert(f"COPY {table} TO STDOUT", out)
            assert out.getvalue().count("\n") == 300
        with pytest.raises(psycopg2.errors.DivisionByZero), connection.cursor() as cursor:
            cursor.execute("SELECT 1/0")
        connection.rollback()
        connection.set_session(isolation_level="SERIALIZABLE", readonly=True)
        with connection, connection.cursor() as cursor:
            cursor.execute("SHOW transaction_isolation")
            assert cursor.fetchone() == ("serializable",)
    finally:
        connection.close()


def test_pg8000(place: Place, table: str) -> None:
    options = asyncpg_options(place)
    options["port"] = int(options["port"])
    with contextlib.closing(pg8000.native.Connection(**options)) as connection:
        statement = connection.prepare("SELECT cast(:n AS int) + 1")
        assert [statement.run(n=n) for n in range(USED_OFTEN)] == [
            [[n + 1]] for n in range(USED_OFTEN)
        ]
        statement.close()
    with contextlib.closing(pg8000.dbapi.connect(**options)) as connection:
        cursor = connection.cursor()
        cursor.executemany(f"INSERT INTO {table} VALUES (%s, %s)", [(n, "x") for n in range(10)])
        connection.commit()
        cursor.execute(f"SELECT count(*) FROM {table}")
        assert cursor.fetchone() == [10]
        with pytest.raises(pg8000.dbapi.DatabaseError, match="22012"):
            cursor.execute("SELECT 1/0")
        connection.rollback()
