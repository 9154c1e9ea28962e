"""Bringing a server connection back to the state it started in."""

from __future__ import annotations

import pytest

from proxy.mysql.constants import HOLD_LIMIT_BYTES
from proxy.mysql.lenenc import lenenc, packet
from proxy.mysql.pipeline import query as encoded
from proxy.mysql.recovery import recover
from proxy.mysql.settings import BASELINE_QUERY
from proxy.mysql.tracking import tracking_sql
from tests.mysql.streams import COLUMN, client_stream, command, end, err, ok, pool_state, query
from tests.mysql.streams import server_stream as fresh


def test_a_clean_connection_needs_nothing() -> None:
    assert recover(fresh(pool_state())) == b""


def test_a_transaction_is_rolled_back() -> None:
    shared = pool_state()
    server, client = fresh(shared), client_stream(shared)
    client.attach(server)
    client.receive(query("BEGIN"))
    server.receive(ok(status=3))
    client.detach()
    assert recover(server) == query("ROLLBACK")
    server.receive(ok())
    assert server.to_client == b""
    assert recover(server) == b""
    assert server.reusable()


def test_the_first_reset_is_learned_from() -> None:
    shared = pool_state()
    server = fresh(shared)
    server.dirty = True
    asked = encoded(BASELINE_QUERY, attributes=False)
    track = encoded(tracking_sql(mariadb=False), attributes=False)
    assert recover(server) == command(0x1F) + command(0x02, b"app") + asked + track
    row = packet(lenenc(b"sql_mode") + lenenc(b"ANSI"), 4)
    columns = packet(b"\x02", 1) + packet(COLUMN, 2) + packet(COLUMN, 3)
    server.receive(ok() + ok() + columns + row + end(5) + ok())
    assert server.is_idle()
    assert server.settings.values == {"sql_mode": "ANSI"}
    assert shared.after_reset is server.settings
    server.dirty = True
    assert asked not in recover(server)


@pytest.mark.parametrize("attached", [False, True])
def test_nothing_is_learned_from_a_reset_that_was_killed(attached: bool) -> None:
    shared = pool_state()
    server, client = fresh(shared), client_stream(shared)
    if attached:
        client.attach(server)
    server.dirty = True
    recover(server)
    server.receive(ok() + ok() + err(errno=1317) + ok())
    assert bool(server.error) is attached  # Its session's variables are not known either.
    assert server.reusable() is not attached
    assert shared.after_reset is None
    other = fresh(shared)
    other.dirty = True
    assert encoded(BASELINE_QUERY, attributes=False) in recover(other)


@pytest.mark.parametrize("killed", range(4))
def test_a_reset_that_was_killed_is_made_again(killed: int) -> None:
    shared = pool_state()
    server = fresh(shared)
    server.dirty = True
    first = recover(server)
    row = packet(lenenc(b"sql_mode") + lenenc(b"ANSI"), 4)
    columns = packet(b"\x02", 1) + packet(COLUMN, 2) + packet(COLUMN, 3)
    replies = [ok(), ok(), columns + row + end(5), ok()]
    server.receive(b"".join([*replies[:killed], err(errno=1317), *replies[killed + 1 :]]))
    assert server.is_quiet()
    assert server.needs_cleaning()
    again = recover(server)
    learned = killed == 3
    assert (shared.after_reset is not None) is learned
    assert (again == first) is not learned
    server.receive(b"".join([ok(), ok(), ok()] if learned else replies))
    assert server.is_idle()
    assert server.reusable()
    assert not server.needs_cleaning()
    assert recover(server) == b""


def test_a_rollback_that_was_killed_is_made_again() -> None:
    shared = pool_state()
    server = fresh(shared)
    server.failed = True
    assert recover(server) == query("ROLLBACK")
    server.receive(err(errno=1317))
    assert command(0x1F) in recover(server), "a reset rolls back as well"


def test_a_reset_that_fails_otherwise_is_not_made_again() -> None:
    server = fresh(pool_state())
    server.dirty = True
    recover(server)
    server.receive(ok() + err(errno=1049) + ok() + ok())
    assert not server.reusable()


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 40])
def test_an_answer_that_comes_in_pieces_is_read_whole(size: int) -> None:
    shared = pool_state()
    server = fresh(shared)
    server.dirty = True
    recover(server)
    row = packet(lenenc(b"sql_mode") + lenenc(b"ANSI"), 4)
    columns = packet(b"\x02", 1) + packet(COLUMN, 2) + packet(COLUMN, 3)
    reply = ok() + ok() + columns + row + end(5) + ok()
    for start in range(0, len(reply), size):
        server.receive(reply[start : start + size])
        assert server.to_client == b""
    assert server.is_idle()
    assert server.reusable()
    assert server.settings.values == {"sql_mode": "ANSI"}


def test_a_row_of_an_answer_too_long_to_hold_is_not_missed() -> None:
    shared = pool_state()
    server = fresh(shared)
    server.dirty = True
    recover(server)
    columns = packet(b"\x02", 1) + packet(COLUMN, 2) + packet(COLUMN, 3)
    long_row = packet(lenenc(b"sql_mode") + lenenc(b"A" * HOLD_LIMIT_BYTES), 4)
    reply = ok() + ok() + columns + long_row + end(5) + ok()
    for start in range(0, len(reply), 65536):
        server.receive(reply[start : start + 65536])
        assert len(server.partial) <= 65536
    assert server.is_quiet()
    assert not server.reusable()
    assert shared.after_reset is None
