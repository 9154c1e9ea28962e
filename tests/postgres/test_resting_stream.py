from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import BorrowTimeout
from proxy.postgres.pool_state import PoolState
from proxy.postgres.prepared import Statement
from proxy.wire.stream import NEED_BYTES, NEED_NOTHING, NEED_SERVER
from tests.postgres.streams import IDLE, PARSED, make_client
from tests.support.messages import FLUSH, SYNC, TERMINATE, message, parse, query, run


def shared_state() -> PoolState:
    return PoolState(max_prepared_statements=10)


@pytest.mark.parametrize("size", range(len(query("SELECT 1"))))
def test_part_of_a_message_needs_no_server(size: int) -> None:
    client = make_client(shared_state())
    assert client.demand(query("SELECT 1")[:size]) == NEED_BYTES
    assert client.held == query("SELECT 1")[:size]


def test_a_whole_message_needs_a_server() -> None:
    client = make_client(shared_state())
    assert client.demand(query("SELECT 1")) == NEED_SERVER


def test_a_long_message_needs_a_server_before_it_is_whole() -> None:
    client = make_client(shared_state())
    assert client.demand(query("SELECT '" + "x" * (2 << 20) + "'")[:100_000]) == NEED_SERVER


def test_lone_syncs_and_flushes_are_answered_here() -> None:
    client = make_client(shared_state())
    assert client.demand(SYNC + FLUSH + SYNC) == NEED_BYTES
    assert client.to_client == IDLE * 2
    assert client.held == b""


def test_terminate_ends_the_session() -> None:
    client = make_client(shared_state())
    assert client.demand(TERMINATE) == NEED_NOTHING
    assert client.terminated


@pytest.mark.parametrize(
    "data",
    [
        b"Q\xff\xff\xff\xff",
        b"Q\0\0\0\3",
        b"Q\x40\0\0\0SELECT",
        b"S\0\0\0\5x",
        b"E\0\0\x4e\x20",
        b"!\0\0\0\4",
        b"\0\0\0\x08\4\xd2\x16\x2f",
    ],
)
def test_what_no_client_may_send(data: bytes) -> None:
    client = make_client(shared_state())
    assert client.demand(data) == NEED_NOTHING
    assert client.error is not None
    assert client.error.sqlstate == "08P01"


def test_a_refused_query_is_answered_and_the_next_one_waits() -> None:
    client = make_client(shared_state())
    assert client.demand(query("SELECT 1") + query("SELECT 2")) == NEED_SERVER
    client.refuse(BorrowTimeout("too long"))
    assert client.to_client.startswith(b"E")
    assert client.to_client.endswith(IDLE)
    assert client.held == query("SELECT 2")
    assert client.demand(client.held) == NEED_SERVER


@given(st.data())
def test_a_refused_batch_is_discarded_up_to_its_sync(data: st.DataObject) -> None:
    client = make_client(shared_state())
    batch = run("SELECT 1", "a value") + message("d", b"x" * 50) + SYNC
    rest = batch + query("SELECT 2")
    first = data.draw(st.integers(len(parse("SELECT 1")), len(rest)))
    assert client.demand(rest[:first]) == NEED_SERVER
    client.refuse(BorrowTimeout("too long"))
    answers = client.to_client
    needs = client.demand(client.held)
    answers += client.to_client
    while first < len(rest):
        size = data.draw(st.integers(1, len(rest) - first))
        needs = client.demand(client.held + rest[first : first + size])
        answers += client.to_client
        first += size
    assert needs == NEED_SERVER
    assert client.held == query("SELECT 2")
    assert answers.count(b"E\0\0") == 1
    assert answers.endswith(IDLE)


def test_known_statements_are_accepted_without_a_server() -> None:
    shared = shared_state()
    client = make_client(shared)
    known = Statement(b"SELECT 1\0\0\0", None, client.session.parse_context())
    known.description = b"\0\0"
    shared.statements.intern(known)
    client.demand(parse("SELECT 1", "s1") + SYNC + query("SELECT 2"))
    assert client.answer_alone()
    assert client.to_client == PARSED + IDLE
    assert client.statements.named == {b"s1": known}
    assert client.held == query("SELECT 2")


@pytest.mark.parametrize(
    "data",
    [
        parse("SELECT 2", "s1") + SYNC,
        parse("SELECT 1", "") + SYNC,
        parse("SELECT 1", "s1"),
        parse("SELECT 1", "taken") + SYNC,
        query("SELECT 1"),
    ],
)
def test_everything_else_needs_one(data: bytes) -> None:
    shared = shared_state()
    client = make_client(shared)
    known = Statement(b"SELECT 1\0\0\0", None, client.session.parse_context())
    known.description = b"\0\0"
    shared.statements.intern(known)
    client.statements.named[b"taken"] = known
    client.demand(data)
    assert not client.answer_alone()
    assert client.held == data


def test_clients_have_no_errands() -> None:
    stream = make_client(shared_state())
    stream.errand_done(None)
    assert stream.to_client == b""
