"""PostgreSQL as the generic part of the proxy sees it."""

from __future__ import annotations

import struct

from proxy.errors import BorrowTimeout
from proxy.postgres.changes import SESSION_POOLING
from proxy.postgres.client_stream import PostgresClientStream
from proxy.postgres.dialect import PostgresDialect
from proxy.postgres.hidden import CATALOGUE_QUERY, HiddenEffects
from proxy.postgres.pool_state import PoolState
from proxy.postgres.server_stream import PostgresServerStream
from proxy.wire.dialect import (
    Arrival,
    Cancel,
    Dialect,
    Login,
    ServerFacts,
    ServerPlan,
    ServerSession,
)
from tests.postgres.streams import IDLE, REPORTED, answered, completed, reports, row
from tests.support import messages as wire
from tests.support.messages import message
from tests.support.play import Player

ARRIVAL = Arrival(tls_available=False, tls_required=False, direct_tls=False, local=True)
SESSION = ServerSession({}, 5, b"", None)
PARAMETERS = {"user": "app", "database": "db", "application_name": "psql"}


def dialect() -> PostgresDialect:
    return PostgresDialect(bytes)


def login(
    settings: dict[str, str] | None = None, pool_key: tuple[tuple[str, str], ...] = ()
) -> Login:
    return Login("app", "db", pool_key, settings or {}, None, 4)


def accepted(parameters: dict[str, str], protocol: int = wire.PROTOCOL_3_0) -> Login:
    """Log a client in with a password in its simplest form."""
    made = dialect()
    secret = made.client_secret("password", "secret", {})
    player = Player(made.accept(ARRIVAL), fetch=lambda _: secret)
    sent = player.feed(wire.startup(parameters, protocol))
    assert sent.endswith(message("R", struct.pack("!I", 3)))
    player.feed(message("p", b"secret\0"))
    assert player.done
    assert isinstance(player.result, Login)
    return player.result


def shared_state() -> PoolState:
    shared = dialect().shared_state(max_prepared_statements=9)
    assert isinstance(shared, PoolState)
    return shared


def test_it_satisfies_the_interface() -> None:
    made: Dialect = dialect()
    assert made


def test_a_login() -> None:
    found = accepted(PARAMETERS)
    assert (found.user, found.database) == ("app", "db")
    assert found.settings == {"application_name": "psql"}
    assert found.pool_key == ()
    assert found.secret_bytes == 4
    assert accepted(PARAMETERS, wire.PROTOCOL_3_2).secret_bytes == 32


def test_names_of_settings_are_compared_without_case() -> None:
    found = accepted({**PARAMETERS, "TimeZone": "UTC", "DateStyle": "ISO"})
    assert found.settings == {"application_name": "psql", "timezone": "UTC", "datestyle": "ISO"}


def test_settings_only_a_start_can_make_part_the_pools() -> None:
    options = "-c session_preload_libraries=b -c Log_Connections=on -c work_mem=9MB"
    found = accepted({**PARAMETERS, "options": options, "application_name": "x"})
    assert found.pool_key == (("log_connections", "on"), ("session_preload_libraries", "b"))
    assert found.settings == {"application_name": "x", "work_mem": "9MB"}


def test_parameters_win_over_options() -> None:
    found = accepted({**PARAMETERS, "options": "-c application_name=inner"})
    assert found.settings["application_name"] == "psql"


def test_a_cancel_request() -> None:
    player = Player(dialect().accept(ARRIVAL))
    player.feed(wire.cancel(77, b"\0\0\0\x09"))
    assert player.result == Cancel(number=77, secret=b"\0\0\0\x09")


def test_logging_in() -> None:
    plan = ServerPlan("app", "db", {"work_mem": "9MB"}, "disable", True, None)
    player = Player(dialect().log_in(plan))
    assert b"user\0app\0" in player.opening
    status = b"".join(reports(name, value) for name, value in REPORTED.items())
    key = message("K", struct.pack("!II", 5, 6))
    player.feed(message("R", b"\0\0\0\0") + status + key + IDLE)
    session = player.result
    assert session.reported == REPORTED
    assert session.process_id == 5
    assert session.cancel_request == wire.cancel(5, struct.pack("!I", 6))


def test_warming_up_asks_what_is_wanted_and_due() -> None:
    made, shared = dialect(), shared_state()
    player = Player(made.warm_up(shared, SESSION, "SET work_mem = '9MB'", 10.0, limits=True))
    assert b"max_connections" in player.opening
    assert player.feed(answered(row("100", "3", "0"))) == wire.query(CATALOGUE_QUERY)
    player.feed(answered(row("f", "SELECT setseed(0)")))
    player.feed(completed("SET") + IDLE)
    player.feed(answered(row("9MB")))
    assert player.result == ServerFacts(97, {"work_mem": "9MB"})
    assert isinstance(shared.hidden, HiddenEffects)
    again = Player(made.warm_up(shared, SESSION, "", 20.0, limits=False))
    assert again.opening == b""
    assert again.result == ServerFacts(0, {})


def test_streams() -> None:
    made, shared = dialect(), shared_state()
    client = made.client_stream(shared, login({"a.b": "1"}), 3, b"abcd", session_pooling=False)
    assert isinstance(client, PostgresClientStream)
    assert client.session.startup is shared.settings.intern({"a.b": "1"})
    assert client.pin_reason() == ""
    greeting = client.greet({"TimeZone": "UTC"})
    assert greeting == reports("TimeZone", "UTC") + message("K", b"\0\0\0\3abcd") + IDLE
    pinned = made.client_stream(shared, login(), 3, b"abcd", session_pooling=True)
    assert pinned.pin_reason() == SESSION_POOLING


def test_greetings_are_learned_from_a_server() -> None:
    made, shared = dialect(), shared_state()
    first, second = (
        made.client_stream(shared, login(), number, b"abcd", session_pooling=False)
        for number in (1, 2)
    )
    assert made.greeting(shared, first) is None
    session = ServerSession(dict(REPORTED), 5, b"", None)
    server = made.server_stream(shared, session, ServerFacts(10))
    assert isinstance(server, PostgresServerStream)
    first.attach(server)
    assert first.greeting_query() == wire.query("")
    told = first.greeting()
    assert made.greeting(shared, second) == told.replace(b"\0\0\0\1abcd", b"\0\0\0\2abcd")


def test_a_server_stream_has_the_baseline() -> None:
    made, shared = dialect(), shared_state()
    facts = ServerFacts(10, {"work_mem": "9MB"})
    server = made.server_stream(shared, ServerSession(dict(REPORTED), 5, b"", None), facts)
    assert isinstance(server, PostgresServerStream)
    assert shared.baseline == {"work_mem": "9MB"}
    assert server.settings is shared.settings.none
    assert server.reported is shared.intern_reported(dict(REPORTED))


def test_a_reply_is_an_error_of_the_protocol() -> None:
    reply = dialect().reply(BorrowTimeout("too many"), ARRIVAL)
    assert reply.startswith(b"E")
    assert wire.Message("E", reply[5:]).fields["M"]


def test_a_notification_of_ones_own_has_the_process_id_of_the_greeting() -> None:
    made, shared = dialect(), shared_state()
    packed = made.pack(
        made.server_stream(shared, ServerSession(dict(REPORTED), 5, b"", None), ServerFacts(10))
    )
    server = made.unpack(shared, packed)
    client = made.client_stream(shared, login(), 3, b"abcd", session_pooling=False)
    client.attach(server)

    def notification(process_id: int) -> bytes:
        return message("A", struct.pack("!I", process_id) + b"news\0said\0")

    server.receive(notification(5) + notification(6) + notification(5))
    assert server.to_client == notification(3) + notification(6) + notification(3)
