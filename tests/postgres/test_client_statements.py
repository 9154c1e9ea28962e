"""Prepared statements of clients that share server connections."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support import messages as wire
from tests.support.fake_postgres import Database
from tests.support.messages import Message, codes, rows, states
from tests.support.stand import split
from tests.support.streams import Pair, client_stream, shared_state

if TYPE_CHECKING:
    from proxy.postgres.client_stream import PostgresClientStream


def use(name: str) -> bytes:
    """Run a statement that is prepared."""
    return wire.bind(name=name) + wire.describe("P") + wire.execute() + wire.SYNC


def prepare(sql: str, name: str) -> bytes:
    return wire.parse(sql, name) + wire.SYNC


def received(pair: Pair, code: str) -> list[bytes]:
    """Messages of one kind that reached the server."""
    return [message for message in pair.peer.received if message[:1] == code.encode()]


def answer(messages: list[Message]) -> list[list[bytes | None]]:
    assert states(messages) == []
    return rows(messages)


@pytest.fixture
def pair() -> Pair:
    return Pair()


@pytest.fixture
def two() -> tuple[Pair, Pair]:
    """Two connections to one database, of one pool."""
    shared, database = shared_state(), Database()
    return Pair(shared, database), Pair(shared, database)


def test_names_do_not_meet(pair: Pair) -> None:
    one, other = client_stream(pair.shared), client_stream(pair.shared)
    pair.say(one, prepare("SELECT 1", "s"))
    pair.say(other, prepare("SELECT 2", "s"))
    assert answer(pair.say(one, use("s"))) == [[b"1"]]
    assert answer(pair.say(other, use("s"))) == [[b"2"]]


def test_the_name_of_one_is_unknown_to_the_other(pair: Pair) -> None:
    one, other = client_stream(pair.shared), client_stream(pair.shared)
    pair.say(one, prepare("SELECT 1", "s"))
    heard = pair.say(other, use("s"))
    assert states(heard) == ["26000"]
    assert heard[0].fields["M"] == 'prepared statement "s" does not exist'


def test_prepared_again_where_it_is_not(two: tuple[Pair, Pair]) -> None:
    first, second = two
    client = client_stream(first.shared)
    assert codes(first.say(client, prepare("SELECT 1", "s"))) == "1Z"
    heard = second.say(client, use("s"))
    assert codes(heard) == "2TDCZ", "the client hears nothing of our Parse"
    assert answer(heard) == [[b"1"]]
    assert len(received(second, "P")) == 1
    assert answer(second.say(client, use("s"))) == [[b"1"]]
    assert len(received(second, "P")) == 1, "prepared once"


def test_one_copy_serves_all_who_prepared_the_same(pair: Pair) -> None:
    clients = [client_stream(pair.shared) for _ in range(5)]
    for client in clients:
        assert codes(pair.say(client, prepare("SELECT 1", "s"))) == "1Z"
    for client in clients:
        assert answer(pair.say(client, use("s"))) == [[b"1"]]
    assert len(pair.server.statements.names) == 1
    assert len(pair.peer.prepared) == 1, "superfluous copies are closed"
    assert len(pair.shared.statements) == 1


def test_describe(two: tuple[Pair, Pair]) -> None:
    client = client_stream(two[0].shared)
    two[0].say(client, prepare("SELECT * FROM t", "s"))
    for pair in two:
        heard = pair.say(client, wire.describe("S", "s") + wire.SYNC)
        assert codes(heard) == "tTZ"


def test_everything_at_once(two: tuple[Pair, Pair]) -> None:
    client = client_stream(two[0].shared)
    whole = wire.parse("SELECT 1", "s") + wire.describe("S", "s") + use("s")
    assert codes(two[0].say(client, whole)) == "1tT2TDCZ"
    assert codes(two[1].say(client, use("s") + use("s"))) == "2TDCZ2TDCZ"


# What goes wrong.


def test_an_error_in_parse_leaves_no_statement(pair: Pair) -> None:
    client = client_stream(pair.shared)
    assert states(pair.say(client, prepare("SELEC", "s"))) == ["42601"]
    assert states(pair.say(client, use("s"))) == ["26000"]
    assert answer(pair.say(client, prepare("SELECT 1", "s") + use("s"))) == [[b"1"]]


def test_a_parse_that_the_server_discarded_leaves_no_statement(pair: Pair) -> None:
    client = client_stream(pair.shared)
    batch = wire.bind(name="nobody") + wire.parse("SELECT 1", "s") + wire.SYNC
    assert states(pair.say(client, batch)) == ["26000"]
    assert states(pair.say(client, use("s"))) == ["26000"]
    assert pair.server.statements.names == {}


def test_a_close_that_the_server_discarded_closes_nothing(pair: Pair) -> None:
    client = client_stream(pair.shared)
    pair.say(client, prepare("SELECT 1", "s"))
    batch = wire.bind(name="nobody") + wire.close("S", "s") + wire.parse("SELECT 2", "s")
    assert states(pair.say(client, batch + wire.SYNC)) == ["26000"]
    assert answer(pair.say(client, use("s"))) == [[b"1"]]


def test_a_name_in_use(pair: Pair) -> None:
    client = client_stream(pair.shared)
    pair.say(client, prepare("SELECT 1", "s"))
    heard = pair.say(client, prepare("SELECT 2", "s"))
    assert states(heard) == ["42P05"]
    assert heard[0].fields["M"] == 'prepared statement "s" already exists'
    assert answer(pair.say(client, use("s"))) == [[b"1"]]


def test_a_name_in_use_on_another_connection(two: tuple[Pair, Pair]) -> None:
    client = client_stream(two[0].shared)
    two[0].say(client, prepare("SELECT 1", "s"))
    heard = two[1].say(client, prepare("SELECT 2", "s"))
    assert heard[0].fields["M"] == 'prepared statement "s" already exists'
    assert answer(two[1].say(client, use("s"))) == [[b"1"]]


def test_closed_and_prepared_anew(pair: Pair) -> None:
    client = client_stream(pair.shared)
    pair.say(client, prepare("SELECT 1", "s"))
    assert codes(pair.say(client, wire.close("S", "s") + wire.SYNC)) == "3Z"
    assert states(pair.say(client, use("s"))) == ["26000"]
    assert answer(pair.say(client, prepare("SELECT 2", "s") + use("s"))) == [[b"2"]]


def test_an_error_names_what_the_client_has_closed_meanwhile(pair: Pair) -> None:
    client = client_stream(pair.shared)
    pair.say(client, prepare("SELECT 1", "s"))
    batch = wire.parse("SELECT 2", "s") + wire.SYNC + wire.close("S", "s") + wire.SYNC
    heard = pair.say(client, batch)
    assert heard[0].fields["M"] == 'prepared statement "s" already exists'


@pytest.mark.parametrize("command", ["ROLLBACK", "COMMIT"])
def test_leaving_a_failed_transaction_by_a_named_statement(pair: Pair, command: str) -> None:
    client = client_stream(pair.shared)
    pair.say(client, wire.query("BEGIN"))
    assert states(pair.say(client, wire.query("SELECT fail"))) == ["22012"]
    assert states(pair.say(client, prepare("SELECT 1", "x"))) == ["25P02"]
    heard = pair.say(client, wire.parse(command, "s") + wire.describe("S", "s") + wire.SYNC)
    assert codes(heard) == "1tnZ"
    heard = pair.say(client, wire.bind(name="s") + wire.execute() + wire.SYNC)
    assert [message.tag for message in heard if message.code == "C"] == ["ROLLBACK"]
    assert heard[-1].payload == b"I"


# The result is another one.


def test_a_changed_result_is_told_as_the_server_would(two: tuple[Pair, Pair]) -> None:
    first, second = two
    client = client_stream(first.shared)
    first.say(client, prepare("SELECT * FROM t", "s"))
    first.peer.database.columns["t"] = ("a", "b", "c")
    direct = first.say(client, use("s"))
    heard = second.say(client, use("s"))
    for messages in (direct, heard):
        assert states(messages) == ["0A000"]
        assert messages[0].fields["M"] == "cached plan must not change result type"
    assert "SELECT * FROM t" not in second.peer.database.executed
    again = prepare("SELECT * FROM t", "r") + use("r")
    assert answer(second.say(client, again)) == [[b"1"]]
    assert states(second.say(client, use("s"))) == ["0A000"], "the old one stays what it was"


def test_a_changed_result_is_told_for_describe(two: tuple[Pair, Pair]) -> None:
    first, second = two
    client = client_stream(first.shared)
    first.say(client, prepare("SELECT * FROM t", "s"))
    first.peer.database.columns["t"] = ("a",)
    heard = second.say(client, wire.describe("S", "s") + wire.SYNC)
    assert states(heard) == ["0A000"]


def test_a_new_session_gets_the_new_result(pair: Pair) -> None:
    old, new = client_stream(pair.shared), client_stream(pair.shared)
    pair.say(old, prepare("SELECT * FROM t", "s"))
    pair.peer.database.columns["t"] = ("a",)
    assert answer(pair.say(new, prepare("SELECT * FROM t", "s") + use("s"))) == [[b"1"]]
    assert states(pair.say(old, use("s"))) == ["0A000"]
    assert answer(pair.say(new, use("s"))) == [[b"1"]]


def test_a_table_that_is_gone(two: tuple[Pair, Pair]) -> None:
    first, second = two
    client = client_stream(first.shared)
    first.say(client, prepare("SELECT * FROM t", "s"))
    del first.peer.database.columns["t"]
    assert states(second.say(client, use("s"))) == ["42P01"]
    first.peer.database.columns["t"] = ("a", "b")
    assert answer(second.say(client, use("s"))) == [[b"1"]]


# Room.


def test_the_least_recently_used_is_closed() -> None:
    pair = Pair(shared_state(statements=2))
    client = client_stream(pair.shared)
    for number in (1, 2):
        pair.say(client, prepare(f"SELECT {number}", f"s{number}"))
    pair.say(client, use("s1"))
    pair.say(client, prepare("SELECT 3", "s3"))
    pair.say(client, wire.query("SELECT 0"))
    assert len(pair.peer.prepared) == 2
    assert sorted(made.sql for made in pair.peer.prepared.values()) == ["SELECT 1", "SELECT 3"]
    for number in (1, 2, 3):
        assert answer(pair.say(client, use(f"s{number}"))) == [[str(number).encode()]]
    assert len(pair.peer.prepared) <= 3


def test_more_statements_in_one_batch_than_there_is_room_for() -> None:
    pair = Pair(shared_state(statements=1))
    client = client_stream(pair.shared)
    batch = b"".join(wire.parse(f"SELECT {number}", f"s{number}") for number in range(4))
    binds = b"".join(wire.bind(name=f"s{number}") + wire.execute() for number in range(4))
    heard = pair.say(client, batch + binds + wire.SYNC)
    assert answer(heard) == [[b"0"], [b"1"], [b"2"], [b"3"]]
    pair.say(client, wire.query("SELECT 0"))
    assert len(pair.peer.prepared) == 1


def test_nothing_is_closed_in_the_middle_of_a_copy() -> None:
    pair = Pair(shared_state(statements=1))
    client = client_stream(pair.shared)
    pair.say(client, prepare("SELECT 1", "s1"))
    heard = pair.say(client, prepare("SELECT 2", "s2") + wire.query("COPY t FROM STDIN"))
    assert codes(heard) == "1ZG"
    heard = pair.say(client, wire.copy_data(b"1\n") + wire.COPY_DONE)
    assert [message.tag for message in heard if message.code == "C"] == ["COPY 1"]


# SQL that names what the protocol prepared.


@pytest.mark.parametrize("command", ["DISCARD ALL", "DEALLOCATE ALL"])
def test_all_are_gone(two: tuple[Pair, Pair], command: str) -> None:
    client, other = client_stream(two[0].shared), client_stream(two[0].shared)
    two[0].say(client, prepare("SELECT 1", "s"))
    two[0].say(other, prepare("SELECT 1", "s"))
    assert states(two[0].say(client, wire.query(command))) == []
    for pair in two:
        assert states(pair.say(client, use("s"))) == ["26000"]
        assert answer(pair.say(other, use("s"))) == [[b"1"]], "another session keeps its own"


def test_prepared_behind_deallocate_all(pair: Pair) -> None:
    client = client_stream(pair.shared)
    pair.say(client, prepare("SELECT 1", "old"))
    heard = pair.say(client, wire.query("DEALLOCATE ALL") + prepare("SELECT 2", "s") + use("s"))
    assert answer(heard) == [[b"2"]]
    assert answer(pair.say(client, use("s"))) == [[b"2"]]
    assert states(pair.say(client, use("old"))) == ["26000"]


def test_execute(two: tuple[Pair, Pair]) -> None:
    client = client_stream(two[0].shared)
    two[0].say(client, prepare("SELECT 1", "s"))
    for pair in two:
        assert answer(pair.say(client, wire.query("EXECUTE s"))) == [[b"1"]]


def test_deallocate(two: tuple[Pair, Pair]) -> None:
    client, other = client_stream(two[0].shared), client_stream(two[0].shared)
    for pair in two:
        pair.say(client, prepare("SELECT 1", "s"))
        pair.say(other, prepare("SELECT 1", "s"))
        heard = pair.say(client, wire.query("DEALLOCATE s"))
        assert [message.tag for message in heard if message.code == "C"] == ["DEALLOCATE"]
        assert states(pair.say(client, use("s"))) == ["26000"]
        assert answer(pair.say(other, use("s"))) == [[b"1"]], "another session keeps its own"
        pair.say(other, wire.close("S", "s") + wire.SYNC)


def test_deallocated_and_prepared_anew_is_never_the_others(pair: Pair) -> None:
    client, other = client_stream(pair.shared), client_stream(pair.shared)
    pair.say(client, prepare("SELECT 1", "s"))
    pair.say(other, prepare("SELECT 1", "s"))
    pair.say(client, wire.query("DEALLOCATE s"))
    pair.say(client, prepare("DELETE FROM t", "s"))
    assert answer(pair.say(other, use("s"))) == [[b"1"]]
    assert pair.peer.database.executed.count("DELETE FROM t") == 0


def test_deallocate_in_the_extended_protocol(pair: Pair) -> None:
    client = client_stream(pair.shared)
    pair.say(client, prepare("SELECT 1", "s"))
    heard = pair.say(client, wire.run("DEALLOCATE s") + wire.SYNC)
    assert states(heard) == []
    assert states(pair.say(client, use("s"))) == ["26000"]
    assert states(pair.say(client, wire.query("DEALLOCATE s"))) == ["26000"]


def test_deallocate_that_fails(pair: Pair) -> None:
    client = client_stream(pair.shared)
    pair.say(client, prepare("SELECT 1", "s"))
    pair.say(client, wire.query("BEGIN"))
    pair.say(client, wire.query("SELECT fail"))
    assert states(pair.say(client, wire.query("DEALLOCATE s"))) == ["25P02"]
    pair.say(client, wire.query("ROLLBACK"))
    assert answer(pair.say(client, use("s"))) == [[b"1"]]


def test_deallocate_of_what_sql_prepared(pair: Pair) -> None:
    client = client_stream(pair.shared)
    pair.say(client, wire.query("PREPARE p AS SELECT 1"))
    assert client.pin_reason() == "prepared_statement"
    assert answer(pair.say(client, wire.query("EXECUTE p"))) == [[b"1"]]
    pair.say(client, wire.query("DEALLOCATE p"))
    assert client.pin_reason() == ""


# The unnamed statement.


def leaves_delete_behind(pair: Pair) -> PostgresClientStream:
    """Have a client leave a dangerous unnamed statement on the server."""
    client = client_stream(pair.shared)
    pair.say(client, wire.parse("DELETE FROM t") + wire.SYNC)
    assert pair.peer.prepared[""].sql == "DELETE FROM t"
    return client


BROKEN = {
    "nothing": b"",
    "a Parse that fails": wire.parse("SELEC") + wire.SYNC,
    "a Parse that is discarded": wire.bind(name="x") + wire.parse("SELECT 1") + wire.SYNC,
    "a named Parse that fails ahead": (
        wire.parse("SELEC", "x") + wire.parse("SELECT 1") + wire.SYNC
    ),
    "a Query that is discarded": wire.bind(name="x") + wire.query("SELECT 1") + wire.SYNC,
    "a Close that is discarded": wire.bind(name="x") + wire.close("S") + wire.SYNC,
    "a Close": wire.close("S") + wire.SYNC,
    "a discarded Parse, discarded Close": (
        wire.bind(name="x") + wire.parse("SELECT 1") + wire.close("S") + wire.SYNC
    ),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("pieces", [False, True], ids=["whole", "message by message"])
def test_the_unnamed_statement_of_another_is_never_run(
    pair: Pair, broken: bytes, pieces: bool
) -> None:
    leaves_delete_behind(pair)
    client = client_stream(pair.shared)
    while broken and pieces:
        size = 1 + int.from_bytes(broken[1:5], "big")
        pair.say(client, broken[:size])
        broken = broken[size:]
    if broken:
        pair.say(client, broken)
    for attempt in (wire.bind() + wire.execute() + wire.SYNC, wire.describe("S") + wire.SYNC):
        heard = pair.say(client, attempt)
        assert states(heard) == ["26000"]
        assert heard[0].fields["M"] == "unnamed prepared statement does not exist"
    assert "DELETE FROM t" not in pair.peer.database.executed


def test_the_unnamed_statement_follows_its_session(two: tuple[Pair, Pair]) -> None:
    client, other = client_stream(two[0].shared), client_stream(two[0].shared)
    two[0].say(client, wire.parse("SELECT 1") + wire.SYNC)
    two[0].say(other, wire.parse("SELECT 2") + wire.SYNC)
    for pair in two:
        assert answer(pair.say(client, use(""))) == [[b"1"]]
        assert answer(pair.say(other, use(""))) == [[b"2"]]


def test_the_unnamed_statement_outlives_an_error(pair: Pair) -> None:
    client = client_stream(pair.shared)
    pair.say(client, wire.parse("SELECT 1") + wire.SYNC)
    pair.say(client, wire.bind(name="x") + wire.parse("SELECT 2") + wire.SYNC)
    assert answer(pair.say(client, use(""))) == [[b"1"]]


def test_a_query_drops_the_unnamed_statement(pair: Pair) -> None:
    client = client_stream(pair.shared)
    pair.say(client, wire.parse("SELECT 1") + wire.SYNC)
    pair.say(client, wire.query("SELECT 2"))
    assert states(pair.say(client, use(""))) == ["26000"]


# Without a server.


def ask_alone(client: PostgresClientStream, data: bytes) -> list[Message] | None:
    """Ask while no server connection is free."""
    client.demand(data)
    return split(client.to_client) if client.answer_alone() else None


def test_a_known_statement_is_accepted_without_a_server(pair: Pair) -> None:
    veteran, client = client_stream(pair.shared), client_stream(pair.shared)
    pair.say(veteran, prepare("SELECT 1", "s"))
    heard = ask_alone(client, prepare("SELECT 1", "mine"))
    assert heard is not None
    assert codes(heard) == "1Z"
    assert client.held == b""
    assert answer(pair.say(client, use("mine"))) == [[b"1"]]


def test_several_at_once_and_what_comes_after(pair: Pair) -> None:
    veteran, client = client_stream(pair.shared), client_stream(pair.shared)
    pair.say(veteran, prepare("SELECT 1", "a") + prepare("SELECT 2", "b"))
    batch = wire.parse("SELECT 1", "x") + wire.parse("SELECT 2", "y") + wire.SYNC
    heard = ask_alone(client, batch + use("y"))
    assert heard is not None
    assert codes(heard) == "11Z"
    assert client.held == use("y")
    assert answer(pair.say(client, b"")) == [[b"2"]]


@pytest.mark.parametrize(
    "data",
    [
        prepare("SELECT 2", "s"),
        prepare("SELECT 1", ""),
        wire.parse("SELECT 1", "s") + wire.describe("S", "s") + wire.SYNC,
        wire.parse("SELECT 1", "s"),
        wire.parse("SELECT 1", "s") + wire.parse("SELECT 1", "s") + wire.SYNC,
        wire.query("SELECT 1"),
        wire.parse("SELECT 1", "s") + wire.SYNC[:3],
        wire.parse("SELECT 1", "s", (23,)) + wire.SYNC,
        use("s"),
    ],
)
def test_everything_else_needs_a_server(pair: Pair, data: bytes) -> None:
    veteran, client = client_stream(pair.shared), client_stream(pair.shared)
    pair.say(veteran, prepare("SELECT 1", "s"))
    assert ask_alone(client, data) is None
    assert client.held == data
    assert client.statements.named == {}


def test_a_name_in_use_is_not_accepted(pair: Pair) -> None:
    client = client_stream(pair.shared)
    pair.say(client, prepare("SELECT 1", "s"))
    assert ask_alone(client, prepare("SELECT 1", "s")) is None


def test_accepted_without_a_server_it_is_what_the_server_says_later(pair: Pair) -> None:
    veteran, client = client_stream(pair.shared), client_stream(pair.shared)
    pair.say(veteran, prepare("SELECT * FROM t", "s"))
    assert ask_alone(client, prepare("SELECT * FROM t", "s")) is not None
    pair.peer.database.columns["t"] = ("c",)
    fresh = Pair(pair.shared, pair.peer.database)
    assert answer(fresh.say(client, use("s"))) == [[b"1"]], "nobody told it another result"
