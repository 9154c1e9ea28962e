"""What new server connections are asked, played against a script."""

from __future__ import annotations

import pytest

from proxy.errors import ServerProtocolError, ServerRefused
from proxy.mysql import warmup
from proxy.mysql.constants import CLIENT_MULTI_STATEMENTS, CLIENT_QUERY_ATTRIBUTES, EOF
from proxy.mysql.lenenc import lenenc, packet
from proxy.mysql.messages import Ok, err_payload, ok_payload
from tests.support.play import Player

DONE = ok_payload(Ok(status=2), session_track=True)


def end_of_rows(status: int = 2) -> bytes:
    """The OK packet behind the rows."""
    return ok_payload(Ok(status=status), session_track=True, header=EOF)


def table(*rows: list[bytes | None], status: int = 2) -> list[bytes]:
    """The payloads of a result; what they say of its columns is made up."""
    columns = len(rows[0]) if rows else 1
    encoded = [
        b"".join(b"\xfb" if value is None else lenenc(value) for value in row) for row in rows
    ]
    return [bytes((columns,)), *[b"column"] * columns, *encoded, end_of_rows(status)]


def wire(payloads: list[bytes]) -> bytes:
    """Put payloads into packets."""
    return b"".join(packet(payload, number + 1) for number, payload in enumerate(payloads))


def test_rows_are_those_of_the_last_statement() -> None:
    player = Player(warmup.ask(b"SELECT 1; SELECT 2", 0))
    assert player.opening == packet(b"\x03SELECT 1; SELECT 2", 0)
    player.feed(wire(table([b"1"], status=10)))
    assert not player.done
    player.feed(wire(table([b"2", None])))
    assert player.result == [[b"2", None]]


def test_a_query_has_no_attributes_where_it_could_have_some() -> None:
    player = Player(warmup.ask(b"DO 1", CLIENT_QUERY_ATTRIBUTES))
    assert player.opening == packet(b"\x03\0\1DO 1", 0)


def test_a_statement_without_rows_gives_none() -> None:
    player = Player(warmup.ask(b"DO 1", 0))
    player.feed(wire([DONE]))
    assert player.result == []


def test_a_value_that_begins_like_an_end_is_a_row() -> None:
    player = Player(warmup.ask(b"SELECT ''", 0))
    player.feed(wire(table([b""])))
    assert player.result == [[b""]]


def test_reports_of_progress_are_not_the_reply() -> None:
    player = Player(warmup.ask(b"ALTER TABLE t FORCE", 0))
    player.feed(wire([b"\xff\xff\xff\x01\x02\x04\0\0\0\0", DONE]))
    assert player.result == []


def test_an_error_of_the_server_is_raised() -> None:
    player = Player(warmup.ask(b"SELECT x", 0))
    with pytest.raises(ServerRefused, match="Unknown column"):
        player.feed(wire([err_payload(1054, "42S22", "Unknown column")]))


@pytest.mark.parametrize(
    ("allowed", "usable"),
    [(b"1", 1), (b"2", 1), (b"20", 19), (b"60", 57), (b"151", 146), (b"10000", 9995)],
)
def test_some_connections_are_left_to_others(allowed: bytes, usable: int) -> None:
    player = Player(warmup.usable_connections(0))
    player.feed(wire(table([allowed])))
    assert player.result == usable


@pytest.mark.parametrize("rows", [[], [[None]], [[b"many"]]])
def test_limits_that_are_not_told_are_an_error(rows: list[list[bytes | None]]) -> None:
    player = Player(warmup.usable_connections(0))
    with pytest.raises(ServerProtocolError, match="max_connections"):
        player.feed(wire(table(*rows)))


def test_several_statements_are_allowed_for_the_query_that_begins() -> None:
    player = Player(warmup.initialise("SET @a=1; SET @b=2", 0))
    assert player.opening == packet(b"\x1b\0\0", 0)
    assert player.feed(wire([end_of_rows()])) == packet(b"\x03SET @a=1; SET @b=2", 0)
    more = ok_payload(Ok(status=10), session_track=True)
    assert player.feed(wire([more, DONE])) == packet(b"\x1b\1\0", 0)
    player.feed(wire([end_of_rows()]))
    assert player.done


def test_sessions_that_may_send_several_statements_need_no_leave() -> None:
    player = Player(warmup.initialise("SET @a=1", CLIENT_MULTI_STATEMENTS))
    assert player.opening == packet(b"\x03SET @a=1", 0)
    player.feed(wire([DONE]))
    assert player.done


def test_variables_are_told_by_names_in_lower_case() -> None:
    player = Player(warmup.baseline(0))
    player.feed(wire(table([b"SQL_mode", b"ANSI"], [b"empty", None])))
    assert player.result == {"sql_mode": "ANSI", "empty": ""}


def test_the_reply_that_knows_no_warnings_is_kept_as_it_is() -> None:
    player = Player(warmup.no_warnings(0))
    payloads = [b"\x03", b"level", b"code", b"message", end_of_rows()]
    player.feed(wire(payloads))
    assert player.result == payloads


@pytest.mark.parametrize("payload", [b"\xfb", b"\x00\x00", b"\x01"])
def test_malformed_replies_are_refused(payload: bytes) -> None:
    player = Player(warmup.ask(b"SELECT 1", 0))
    with pytest.raises(ServerProtocolError):
        player.feed(wire([payload, b"column", b"\x05a", end_of_rows()]))
