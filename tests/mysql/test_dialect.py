"""MySQL as the generic part of the proxy sees it."""

from __future__ import annotations

import json
import secrets

import pytest

from proxy.errors import ClientAuthError, ServerRefused
from proxy.mysql import auth, handshake
from proxy.mysql.capabilities import LOGIN_CAPABILITIES, ClientFacts, TargetProfile
from proxy.mysql.client_stream import MysqlClientStream
from proxy.mysql.constants import (
    CLIENT_FOUND_ROWS,
    CLIENT_PROTOCOL_41,
    CLIENT_SESSION_TRACK,
    EOF,
)
from proxy.mysql.dialect import MysqlDialect
from proxy.mysql.lenenc import lenenc, packet
from proxy.mysql.messages import Err, Ok, err_payload, ok_payload, read_err
from proxy.mysql.pool_state import PoolState
from proxy.mysql.server_stream import MysqlServerStream
from proxy.mysql.tracking import tracking_sql
from proxy.wire.dialect import (
    Arrival,
    Dialect,
    Login,
    MovingDialect,
    ServerFacts,
    ServerPlan,
    ServerSession,
)
from proxy.wire.steps import Fetch, FetchTarget
from tests.support.play import Player

OFFER = LOGIN_CAPABILITIES | CLIENT_FOUND_ROWS | CLIENT_SESSION_TRACK
NONCE = b"abcdefghijklmnopqrst"
DONE = ok_payload(Ok(status=2), session_track=True)
PROFILE = TargetProfile("9.7.0", OFFER, 255, auth.NATIVE)
SESSION = ServerSession(
    {"server_version": "9.7.0", "schema": "db"}, 77, b"KILL QUERY 77", None, capabilities=OFFER
)


def dialect() -> MysqlDialect:
    return MysqlDialect(secrets.token_bytes)


def arrival() -> Arrival:
    return Arrival(tls_available=False, tls_required=False, direct_tls=False, local=True, number=5)


def plan(parameters: dict[str, str] | None = None) -> ServerPlan:
    secret = dialect().server_secret("secret", {}, None)
    return ServerPlan("app", "db", parameters or {}, "disable", False, secret)


def greeting() -> bytes:
    """A server's greeting, as a packet."""
    message = handshake.HandshakeV10("9.7.0", 77, NONCE, OFFER, 255, 2, auth.NATIVE)
    return packet(handshake.handshake_payload(message), 0)


def table(columns: int, *rows: list[bytes]) -> bytes:
    """A result of the text protocol, as packets."""
    payloads = [bytes((columns,)), *[b"column"] * columns]
    payloads += [b"".join(lenenc(value) for value in row) for row in rows]
    payloads.append(ok_payload(Ok(status=2), session_track=True, header=EOF))
    return b"".join(packet(payload, number + 1) for number, payload in enumerate(payloads))


def test_it_satisfies_the_interface() -> None:
    made: Dialect = dialect()
    assert made
    assert made.socket_path("/run/mysqld/mysqld.sock", 3306) == "/run/mysqld/mysqld.sock"


def accepted(password: bytes, capabilities: int = OFFER) -> Login:
    """Log a client in."""

    def fetch(asked: Fetch | FetchTarget) -> object:
        if isinstance(asked, FetchTarget):
            return PROFILE
        return made.client_secret("", "secret", {})

    made = dialect()
    player = Player(made.accept(arrival()), fetch=fetch)
    nonce = handshake.read_handshake(player.opening[4:]).nonce
    response = handshake.HandshakeResponse41(
        capabilities,
        0,
        8,
        b"app",
        auth.native_scramble(password, nonce),
        b"db",
        auth.NATIVE,
        b"",
    )
    player.feed(packet(handshake.response_payload(response), 1))
    assert isinstance(player.result, Login)
    return player.result


def test_a_login() -> None:
    login = accepted(b"secret", OFFER & ~CLIENT_SESSION_TRACK)
    assert (login.user, login.database, login.settings) == ("app", "db", {})
    assert login.pool_key == (("capabilities", "2"), ("collation", "8"))
    assert login.facts.sequence == 2
    assert not login.facts.capabilities & CLIENT_SESSION_TRACK
    with pytest.raises(ClientAuthError):
        accepted(b"wrong")


def test_a_server_connection_is_made_for_its_pool() -> None:
    player = Player(dialect().log_in(plan({"capabilities": "2", "collation": "8"})))
    response = handshake.read_response(player.feed(greeting())[4:])
    assert response.capabilities & CLIENT_FOUND_ROWS
    assert (response.collation, response.database) == (8, b"db")
    player.feed(packet(DONE, 2))
    session = player.result
    assert session.reported == {"server_version": "9.7.0", "schema": "db"}
    assert (session.process_id, session.cancel_request) == (77, b"KILL QUERY 77")
    assert session.profile == PROFILE
    assert session.capabilities == response.capabilities


def test_a_collation_beyond_a_logins_byte_is_set_behind_it() -> None:
    player = Player(dialect().log_in(plan({"collation": "309"})))
    player.feed(greeting())
    assert b"information_schema.collations WHERE id = 309" in player.feed(packet(DONE, 2))
    sent = player.feed(table(2, [b"utf8mb4", b"utf8mb4_0900_bin"]))
    assert sent == packet(b"\x03SET NAMES utf8mb4 COLLATE utf8mb4_0900_bin", 0)
    player.feed(packet(DONE, 1))
    assert player.done


def test_warming_up_asks_what_is_not_known_yet() -> None:
    made, shared = dialect(), PoolState(max_prepared_statements=9)
    player = Player(made.warm_up(shared, SESSION, "SET @x=1", 0.0, limits=True))
    assert b"max_connections" in player.opening
    player.feed(table(1, [b"151"]))
    player.feed(packet(DONE, 1))
    assert player.feed(packet(DONE, 1)) == packet(b"\x1b\1\0", 0)
    assert b"SHOW SESSION VARIABLES" in player.feed(packet(DONE, 1))
    assert b"SHOW WARNINGS" in player.feed(table(2, [b"sql_mode", b"ANSI"]))
    assert b"information_schema.ROUTINES" in player.feed(table(3))
    users = player.feed(table(3, [b"F", b"locks", b"RETURN GET_LOCK('a', 1)"]))
    assert b"locks".hex().encode() in users
    assert player.feed(table(3)).endswith(tracking_sql(mariadb=False))
    player.feed(packet(DONE, 1))
    facts = player.result
    assert facts == ServerFacts(146, {"sql_mode": "ANSI"})
    assert shared.hidden is not None
    assert shared.hidden.added_to(b"SELECT locks()", None) is not None
    stream = made.server_stream(shared, SESSION, facts)
    assert isinstance(stream, MysqlServerStream)
    again = Player(made.warm_up(shared, SESSION, "", 0.0, limits=False))
    assert again.opening.endswith(tracking_sql(mariadb=False))
    again.feed(packet(DONE, 1))
    assert again.result == ServerFacts(0, {})


def test_a_session_is_greeted_once_a_server_has_taken_its_user() -> None:
    made, shared = dialect(), dialect().shared_state(max_prepared_statements=9)
    facts = ClientFacts(CLIENT_PROTOCOL_41, 3, 45)
    login = Login("app", "db", (), {}, None, 0, facts=facts)
    stream = made.client_stream(shared, login, 5, b"", session_pooling=False)
    assert isinstance(stream, MysqlClientStream)
    assert made.greeting(shared, stream) is None
    shared.proven.add(b"db")
    assert made.greeting(shared, stream) == packet(DONE, 3)


def test_a_query_is_cancelled_by_a_login_of_its_user() -> None:
    player = Player(dialect().cancel(b"KILL QUERY 77", plan(), tls=False))
    player.feed(greeting())
    assert player.feed(packet(DONE, 2)) == packet(b"\x03KILL QUERY 77", 0)
    unknown = err_payload(1094, "HY000", "Unknown thread id: 77")
    assert player.feed(packet(unknown, 1)) == packet(b"\x01", 0)
    assert player.done
    assert Player(dialect().cancel(b"KILL QUERY 77", None, tls=False)).done


def test_a_target_is_learned_by_a_login_that_leaves_politely() -> None:
    player = Player(dialect().learn_target(plan()))
    player.feed(greeting())
    assert player.feed(packet(DONE, 2)) == packet(b"\x01", 0)
    player.end()
    assert player.result == PROFILE


def test_a_target_is_learned_though_the_login_fails() -> None:
    player = Player(dialect().learn_target(plan()))
    player.feed(greeting())
    player.feed(packet(err_payload(1045, "28000", "Access denied"), 2))
    assert player.result == PROFILE
    player = Player(dialect().learn_target(None))
    assert player.feed(greeting()) == b""
    assert player.result == PROFILE
    with pytest.raises(ServerRefused):
        Player(dialect().learn_target(None)).feed(packet(err_payload(1040, "", "Too many"), 0))


def test_a_server_connection_moves_to_another_process() -> None:
    made = dialect()
    shared, other = PoolState(max_prepared_statements=9), PoolState(max_prepared_statements=9)
    stream = made.server_stream(shared, SESSION, ServerFacts(0, {"sql_mode": "ANSI"}))
    assert isinstance(stream, MysqlServerStream)
    stream.schema = b"elsewhere"
    moved = made.unpack(other, json.loads(json.dumps(made.pack(stream))))
    assert isinstance(moved, MysqlServerStream)
    assert (moved.schema, moved.capabilities) == (b"elsewhere", OFFER)
    assert other.baseline == {"sql_mode": "ANSI"}
    assert moved.needs_cleaning()
    assert isinstance(made, MovingDialect)


def test_a_reply_has_the_next_sequence_id() -> None:
    reply = dialect().reply(ClientAuthError("no"), Arrival(False, False, False, True, sequence=2))
    assert reply[3] == 2
    assert read_err(reply[4:]) == Err(1045, "28000", b"no")


def test_a_reply_ahead_of_the_greeting_has_no_sqlstate() -> None:
    reply = dialect().reply(ClientAuthError("no"), arrival())
    assert read_err(reply[4:]) == Err(1045, "", b"no")
    full = err_payload(1040, "08004", "Too many connections")
    refused = ServerRefused("Too many connections", response=full, code="08004", errno=1040)
    reply = dialect().reply(refused, arrival())
    assert read_err(reply[4:]) == Err(1040, "", b"Too many connections")
