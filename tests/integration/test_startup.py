"""Start-up: versions, options, databases, users, and what is refused, direct and proxied."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support import messages as wire
from tests.support.proxy import ProxyProcess, ProxySettings
from tests.support.servers import ROLES, PostgresServer
from tests.support.wire import Closed, WireClient, cancel

if TYPE_CHECKING:
    from tests.conftest import Place
    from tests.support.messages import Message
    from tests.support.proxy import StartProxy

PROTOCOL_3_1 = wire.PROTOCOL_3_0 + 1
PROTOCOL_3_9999 = wire.PROTOCOL_3_0 + 9999


def login(place: Place, **options: str) -> list[Message]:
    """Log in with start-up parameters and give what was said; the client leaves at once."""
    with WireClient(place.host, place.port) as client:
        return client.login(parameters=options)


def negotiated(messages: list[Message]) -> Message | None:
    """Give the NegotiateProtocolVersion among messages."""
    return next((message for message in messages if message.code == "v"), None)


def test_protocol_3_0(place: Place) -> None:
    with WireClient(place.host, place.port) as client:
        said = client.login()
        assert said[-1].payload == b"I"
        assert negotiated(said) is None
        assert len(client.key) == 4, "a 3.0 client may allow four bytes and no more"
        assert client.parameters["client_encoding"] == "UTF8"
        assert client.parameters["session_authorization"] == "app"
        client.quit()


def test_reported_parameters_are_the_servers(server: PostgresServer, pooled: ProxyProcess) -> None:
    told = []
    for place in (server, pooled):
        with WireClient(place.host, place.port) as client:
            client.login(parameters={"application_name": "same", "timezone": "Asia/Kolkata"})
            told.append(client.parameters)
    assert told[0] == told[1]


def test_protocol_3_2_and_its_longer_cancel_key(pooled: ProxyProcess) -> None:
    with WireClient(pooled.host, pooled.port) as client:
        said = client.login(protocol=wire.PROTOCOL_3_2)
        assert said[-1].code == "Z"
        assert negotiated(said) is None
        assert 4 <= len(client.key) <= 256
        client.send(wire.query("SELECT pg_sleep(30)"))
        cancel(pooled.host, pooled.port, client.pid, client.key)
        assert wire.states(client.read_until()) == ["57014"]


@pytest.mark.parametrize("protocol", [PROTOCOL_3_1, PROTOCOL_3_9999])
def test_other_minor_versions_are_negotiated_down(pooled: ProxyProcess, protocol: int) -> None:
    with WireClient(pooled.host, pooled.port) as client:
        said = client.login(protocol=protocol)
        assert said[-1].code == "Z"
        answer = negotiated(said)
        assert answer is not None
        newest = int.from_bytes(answer.payload[:4])
        assert newest in (wire.PROTOCOL_3_0, wire.PROTOCOL_3_2)
        assert newest <= protocol
        assert client.value("SELECT 1") == "1"


def test_unknown_protocol_options_are_listed(place: Place) -> None:
    with WireClient(place.host, place.port) as client:
        options = {"_pq_.first": "x", "_pq_.second": "y"}
        said = client.login(parameters=options)
        assert said[-1].code == "Z"
        answer = negotiated(said)
        assert answer is not None
        assert int.from_bytes(answer.payload[4:8]) == 2
        assert answer.payload[8:] == b"_pq_.first\0_pq_.second\0"


@pytest.mark.parametrize("major", [1, 2, 4, 1000])
def test_other_major_versions_are_refused(place: Place, major: int) -> None:
    with WireClient(place.host, place.port) as client:
        client.send(wire.startup({"user": "app"}, major << 16))
        client.drain()
        # Before 3.0 an error was unframed text; PostgreSQL answers old clients that way.
        said = bytes(client.buffer) + client.last_payload
        assert f"unsupported frontend protocol {major}.0".encode() in said
        assert major < 3 or b"C0A000" in said


def test_ssl_and_gss_requests_where_neither_is_offered(single: ProxyProcess) -> None:
    with WireClient(single.host, single.port) as client:
        client.send(wire.GSS_REQUEST)
        assert client.read_bytes(1) == b"N"
        client.send(wire.SSL_REQUEST)
        assert client.read_bytes(1) == b"N"
        assert client.login()[-1].code == "Z"


def test_gss_request_then_tls(pooled: ProxyProcess) -> None:
    with WireClient(pooled.host, pooled.port) as client:
        client.send(wire.GSS_REQUEST)
        assert client.read_bytes(1) == b"N"
        client.send(wire.SSL_REQUEST)
        assert client.read_bytes(1) == b"S"


@pytest.mark.parametrize("value", ["true", "on", "1", "database"])
def test_replication_is_refused(single: ProxyProcess, value: str) -> None:
    assert wire.states(login(single, replication=value)) == ["0A000"]


def test_no_replication_is_fine(place: Place) -> None:
    assert login(place, replication="false")[-1].code == "Z"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("-c statement_timeout=61000", {"statement_timeout": "61s"}),
        ("-cstatement_timeout=61000 -c work_mem=8MB", {"statement_timeout": "61s"}),
        ("--work-mem=8MB --statement_timeout=1000", {"work_mem": "8MB", "statement_timeout": "1s"}),
        ("-c search_path=a,\\ b", {"search_path": "a, b"}),
        ("-c application_name=a\\\\b", {"application_name": "a\\b"}),
        ("", {"application_name": ""}),
        ("-c app.custom=blue", {"app.custom": "blue"}),
    ],
)
def test_options(place: Place, options: str, expected: dict[str, str]) -> None:
    with WireClient(place.host, place.port) as client:
        assert client.login(parameters={"options": options})[-1].code == "Z"
        for name, value in expected.items():
            assert client.value(f"SHOW {name}") == value
            client.query(f"RESET {name}")
            assert client.value(f"SHOW {name}") == value


@pytest.mark.parametrize(
    ("parameters", "state"),
    [
        ({"options": "-c nosuch_setting=1"}, "42704"),
        ({"nosuch_setting": "1"}, "42704"),
        ({"options": "-c work_mem=potato"}, "22023"),
        ({"timezone": "no such zone"}, "22023"),
        ({"options": "-c shared_buffers=1GB"}, "55P02"),
        ({"client_encoding": "nonsense"}, "22023"),
    ],
)
def test_bad_settings_are_refused(place: Place, parameters: dict[str, str], state: str) -> None:
    said = login(place, **parameters)
    assert wire.states(said) == [state]
    assert said[-1].fields["S"] == "FATAL"


def test_start_up_parameters_apply_to_every_transaction(
    single: ProxyProcess,
) -> None:
    with WireClient(single.host, single.port) as one, WireClient(single.host, single.port) as two:
        one.login(parameters={"timezone": "Asia/Tokyo", "options": "-c work_mem=5MB"})
        two.login(parameters={"timezone": "Europe/Paris"})
        for _ in range(3):
            assert one.value("SHOW timezone") == "Asia/Tokyo"
            assert one.value("SHOW work_mem") == "5MB"
            assert two.value("SHOW timezone") == "Europe/Paris"
            assert two.value("SHOW work_mem") == "4MB"


def test_database_is_the_users_name_by_default(place: Place) -> None:
    with WireClient(place.host, place.port) as client:
        client.send(wire.startup({"user": "other"}))
        assert client.authenticate("other")[-1].code == "Z"
        assert client.value("SELECT current_database()") == "other"


@pytest.mark.parametrize("user", sorted(ROLES))
def test_every_role(place: Place, user: str) -> None:
    with WireClient(place.host, place.port) as client:
        assert client.login(user)[-1].code == "Z"
        assert client.value("SELECT current_user") == user


def test_no_user(place: Place) -> None:
    for parameters in ({"database": "app"}, {"user": "", "database": "app"}):
        with WireClient(place.host, place.port) as client:
            client.send(wire.startup(parameters))
            assert wire.states(client.drain()) == ["28000"]


def test_unknown_database(place: Place) -> None:
    with WireClient(place.host, place.port) as client:
        said = client.login(database="nosuch")
        assert said[-1].fields == {
            "S": "FATAL",
            "V": "FATAL",
            "C": "3D000",
            "M": 'database "nosuch" does not exist',
            **{letter: said[-1].fields[letter] for letter in "FLR"},
        }


def test_wrong_password_and_unknown_user_look_the_same(pooled: ProxyProcess) -> None:
    def refusal(user: str) -> tuple[str, dict[str, str]]:
        with WireClient(pooled.host, pooled.port) as client:
            said = client.login(user, password="wrong")
            fields = said[-1].fields
            return wire.codes(said), {**fields, "M": fields["M"].replace(user, "someone")}

    known, unknown = refusal("app"), refusal("ghost")
    assert known == unknown
    assert known[1]["C"] == "28P01"
    assert known[1]["M"] == 'password authentication failed for user "someone"'


def test_empty_password(pooled: ProxyProcess) -> None:
    with WireClient(pooled.host, pooled.port) as client:
        assert wire.states(client.login(password="")) == ["28P01"]


@pytest.mark.parametrize("user", [b"\xff\xfe", b"a" * 5000, b"'; DROP TABLE x; --", "é".encode()])
def test_odd_user_names(pooled: ProxyProcess, user: bytes) -> None:
    with WireClient(pooled.host, pooled.port) as client:
        client.send(wire.startup({"user": user, "database": b"app"}))
        first = client.read()
        if first.code == "R":
            client.send(wire.message("p", b"SCRAM-SHA-256\0\0\0\0\x0en,,n=,r=abcdef"))
            first = client.read()
        while first.code == "R":
            client.send(wire.message("p", b"c=biws,r=wrong,p=wrong"))
            first = client.read()
        assert first.code == "E"
        assert first.fields["C"] in ("28P01", "28000", "08P01", "22021")
        with pytest.raises((Closed, ConnectionResetError)):
            client.read()


def test_query_instead_of_a_password(place: Place) -> None:
    with WireClient(place.host, place.port) as client:
        client.send(wire.startup({"user": "app", "database": "app"}))
        assert client.read().code == "R"
        client.send(wire.query("SELECT 1"))
        assert wire.states(client.drain()) == ["08P01"]


def test_terminate_or_leave_instead_of_a_password(pooled: ProxyProcess) -> None:
    for last_words in (wire.TERMINATE, b""):
        with WireClient(pooled.host, pooled.port) as client:
            client.send(wire.startup({"user": "app", "database": "app"}))
            assert client.read().code == "R"
            client.send(last_words)
            if last_words:
                assert all(message.code == "E" for message in client.drain())


def test_login_methods_towards_clients(server: PostgresServer, start_proxy: StartProxy) -> None:
    methods = {"app": "scram-sha-256", "app_md5": "md5", "app_trust": "trust"}
    auth = [
        {"user": name, "client_auth": method, "credential": f"static:{ROLES[name].password}"}
        for name, method in methods.items()
    ]
    proxy = start_proxy(ProxySettings(server, auth=auth))
    for name, kind in (("app", 10), ("app_md5", 5), ("app_trust", 0)):
        with WireClient(proxy.host, proxy.port) as client:
            said = client.login(name)
            assert said[-1].code == "Z"
            assert int.from_bytes(said[0].payload[:4]) == kind
            assert client.value("SELECT current_user") == name
    with WireClient(proxy.host, proxy.port) as client:
        assert wire.states(client.login("app_md5", password="wrong")) == ["28P01"]
    with WireClient(proxy.host, proxy.port) as client:
        assert wire.states(client.login("app_plain")) == ["28P01"]


def test_stored_verifier_lets_clients_in(server: PostgresServer, start_proxy: StartProxy) -> None:
    stored = server.admin("SELECT rolpassword FROM pg_authid WHERE rolname = 'app'")[0][0]
    assert stored.startswith("SCRAM-SHA-256$")
    proxy = start_proxy(
        ProxySettings(server, auth=[{"user": "app", "credential": f"static:{stored}"}])
    )
    with WireClient(proxy.host, proxy.port) as client:
        assert wire.states(client.login(password="wrong")) == ["28P01"]
    # A verifier proves nothing to the server: SCRAM needs the client key. PgBouncer passes on the
    # key that the client just proved; whoever cannot must say so and not hang.
    with WireClient(proxy.host, proxy.port) as client:
        assert client.login()[-1].code in "ZE"
