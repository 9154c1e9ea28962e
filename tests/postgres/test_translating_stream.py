from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from proxy.postgres.pool_state import PoolState
from proxy.postgres.translating_stream import _zero_at
from tests.postgres.streams import IDLE, answered, completed, make_client, make_server
from tests.support.messages import SYNC, bind, close, describe, execute, parse, query


def test_statement_names_become_the_servers() -> None:
    shared = PoolState(max_prepared_statements=10)
    client, server = make_client(shared), make_server(shared)
    client.attach(server)
    client.receive(parse("SELECT 1", "mine") + SYNC)
    assert client.to_server == parse("SELECT 1", "tidegate_1") + describe("S", "tidegate_1") + SYNC
    client.receive(bind("v", name="mine") + describe("S", "mine") + execute() + SYNC)
    expected = bind("v", name="tidegate_1") + describe("S", "tidegate_1") + execute() + SYNC
    assert client.to_server == expected


def test_what_needs_no_change_is_passed_on_as_it_came() -> None:
    shared = PoolState(max_prepared_statements=10)
    client, server = make_client(shared), make_server(shared)
    client.attach(server)
    for data in (
        query("SELECT 1"),
        parse("SELECT $1") + bind("x") + describe("P") + execute() + SYNC,
        close("S", "unknown") + close("P", "portal") + SYNC,
        bind("x", name="unknown") + SYNC,
    ):
        client.receive(data)
        assert client.to_server == data
        assert client.to_client == b""


def test_sql_that_names_a_statement_is_renamed() -> None:
    shared = PoolState(max_prepared_statements=10)
    client, server = make_client(shared), make_server(shared)
    client.attach(server)
    client.receive(parse("SELECT 1", "mine") + SYNC)
    client.receive(query("DEALLOCATE mine"))
    assert client.to_server == query("DEALLOCATE tidegate_1")


def test_a_reset_is_followed_by_what_the_session_started_with() -> None:
    shared = PoolState(max_prepared_statements=10)
    client, server = make_client(shared, timezone="Asia/Tokyo"), make_server(shared)
    server.settings = client.session.settings
    client.attach(server)
    client.receive(query("RESET TimeZone"))
    again = query("SELECT pg_catalog.set_config('timezone','Asia/Tokyo',false)")
    assert client.to_server == query("RESET TimeZone") + again
    server.receive(completed("RESET") + IDLE + answered())
    assert server.to_client == completed("RESET") + IDLE


def test_a_statement_too_long_to_be_read_pins() -> None:
    shared = PoolState(max_prepared_statements=10)
    client, server = make_client(shared), make_server(shared)
    client.attach(server)
    long = query("SELECT '" + "x" * (1 << 20) + "'")
    client.receive(long[:70_000])
    assert client.to_server == long[:70_000]
    assert client.in_message()
    client.receive(long[70_000:])
    assert client.to_server == long[70_000:]
    assert client.pin_reason() == "statement_size"
    assert server.needs_cleaning()


def test_a_query_in_the_middle_of_a_batch_spoils_the_connection() -> None:
    shared = PoolState(max_prepared_statements=10)
    client, server = make_client(shared), make_server(shared)
    client.attach(server)
    client.receive(parse("SELECT 1") + query("SELECT 2"))
    assert not server.reusable()


@given(st.binary(max_size=200), st.integers(0, 210))
@example(b"x" * 64 + b"\0", 0)
@example(b"x" * 65 + b"\0", 1)
@example(b"", 0)
def test_the_end_of_a_string_is_found_however_long_it_is(data: bytes, start: int) -> None:
    assert _zero_at(data, start) == data.find(b"\0", start)
    assert _zero_at(b"x" * 70 + data, start) == (b"x" * 70 + data).find(b"\0", start)
