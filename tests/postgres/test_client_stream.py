from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from proxy.postgres.pool_state import PoolState
from tests.postgres.streams import IDLE, PREPARED, make_client, make_server, reports
from tests.support.messages import (
    FLUSH,
    SYNC,
    TERMINATE,
    bind,
    close,
    copy_data,
    copy_fail,
    describe,
    execute,
    function_call,
    message,
    parse,
    query,
    run,
)

TALK = (
    query("SELECT 1")
    + run("INSERT INTO t VALUES ($1)", "x" * 300)
    + SYNC
    + parse("SELECT $1", "s1")
    + describe("S", "s1")
    + FLUSH
    + bind("a", name="s1")
    + execute()
    + close("S", "s1")
    + SYNC
    + query("COPY t FROM STDIN")
    + copy_data(b"y" * 400)
    + message("c")
    + copy_fail("no")
    + function_call(42, b"z" * 100)
    + query("SET timezone = 'UTC'")
)


def translated(chunks: list[bytes]) -> tuple[bytes, list[int]]:
    """What a server receives of a client that sends these chunks, and what it owes then."""
    shared = PoolState(max_prepared_statements=10)
    client, server = make_client(shared), make_server(shared)
    client.attach(server)
    sent = b""
    for chunk in chunks:
        client.receive(chunk)
        assert client.error is None
        sent += client.to_server
    assert client.held == b""
    return sent, [reply.kind for reply in server.pipeline.replies[server.pipeline.head :]]


def test_every_split_point() -> None:
    whole = translated([TALK])
    for cut in range(1, len(TALK)):
        assert translated([TALK[:cut], TALK[cut:]]) == whole, cut


@given(st.lists(st.integers(1, len(TALK) - 1), max_size=30, unique=True))
def test_any_splits(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(TALK)]
    chunks = [TALK[left:right] for left, right in itertools.pairwise(edges)]
    assert translated(chunks) == translated([TALK])


@given(st.binary(max_size=200), st.integers(0, len(TALK)))
def test_garbage_is_an_error_or_waits_for_more(garbage: bytes, at: int) -> None:
    shared = PoolState(max_prepared_statements=10)
    client, server = make_client(shared), make_server(shared)
    client.attach(server)
    client.receive(TALK[:at] + garbage)
    assert client.error is None or client.error.sqlstate == "08P01"


def test_terminate_in_the_middle() -> None:
    shared = PoolState(max_prepared_statements=10)
    client, server = make_client(shared), make_server(shared)
    client.attach(server)
    client.receive(query("COMMIT") + TERMINATE + query("never"))
    assert client.to_server == query("COMMIT")
    assert client.terminated


def test_settings_are_replayed_ahead_of_the_message_and_only_once() -> None:
    shared = PoolState(max_prepared_statements=10)
    client, server = make_client(shared, search_path="mine"), make_server(shared)
    client.attach(server)
    client.receive(query("SELECT 1"))
    replay = query("SELECT pg_catalog.set_config('search_path','mine',false)")
    assert client.to_server == replay + query("SELECT 1")
    client.receive(query("SELECT 2"))
    assert client.to_server == query("SELECT 2")


def test_another_session_gets_the_servers_default_back() -> None:
    shared = PoolState(max_prepared_statements=10)
    one, server = make_client(shared, search_path="mine"), make_server(shared)
    two = make_client(shared)
    one.attach(server)
    one.receive(b"")
    server.receive(message("T", b"\0\0") + message("C", b"SELECT 1\0") + IDLE)
    one.detach()
    two.attach(server)
    two.receive(query("SELECT 1"))
    assert two.to_server == query('RESET "search_path"') + query("SELECT 1")


def test_the_message_waits_until_the_statement_is_described() -> None:
    shared = PoolState(max_prepared_statements=10)
    client, first, second = make_client(shared), make_server(shared), make_server(shared)
    client.attach(first)
    client.receive(parse("SELECT 1", "s1") + SYNC)
    first.receive(PREPARED + IDLE)
    client.detach()
    client.attach(second)
    use = bind(name="s1") + execute() + SYNC
    client.receive(use)
    ours = parse("SELECT 1", "tidegate_1") + describe("S", "tidegate_1") + FLUSH
    assert (client.to_server, client.waiting, client.held) == (ours, True, use)
    second.receive(PREPARED)
    assert second.to_client == b""
    assert second.resume
    client.waiting = False
    client.receive(b"")
    assert client.to_server == bind(name="tidegate_1") + execute() + SYNC


def test_a_server_that_reports_otherwise_is_announced() -> None:
    shared = PoolState(max_prepared_statements=10)
    client, server = make_client(shared), make_server(shared, server_version="99")
    client.attach(server)
    client.receive(query("SELECT 1"))
    assert client.to_client == reports("server_version", "99")
    client.receive(query("SELECT 1"))
    assert client.to_client == b""
