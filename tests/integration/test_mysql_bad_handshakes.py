"""Handshakes of MySQL clients that go wrong: told why, and nobody else notices."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import mysql_messages as wire
from tests.support.mysql_proxy import mysql_proxy_settings
from tests.support.mysql_wire import MysqlClient
from tests.support.proxy import ProxyProcess, running_proxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.certificates import Certificates
    from tests.support.mysql_servers import MysqlServer


@pytest.fixture(scope="module")
def proxy(
    mysql_server: MysqlServer,
    proxy_certificates: Certificates,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ProxyProcess]:
    """A proxy with a pool of four that offers TLS and uses it towards the server."""
    made = mysql_proxy_settings(mysql_server, {"max_connections": 4})
    made.certificates = proxy_certificates
    made.target = {"tls": "prefer"}
    made.auth[1]["client_auth"] = "password"
    made.auth.append({"user": "ghost", "credential": "static:nobody-knows"})
    with running_proxy(made, tmp_path_factory.mktemp("mysql-logins")) as running:
        yield running


@pytest.fixture(scope="module")
def neighbour(proxy: ProxyProcess) -> Iterator[MysqlClient]:
    """A client that must not be harmed."""
    with MysqlClient(proxy.host, proxy.port) as client:
        client.login("app", "app-secret")
        yield client


GOOD = wire.BASE.to_bytes(4, "little") + bytes(28) + b"app\0" + bytes([20]) + bytes(20)
PIECES = st.one_of(
    st.binary(max_size=60),
    st.integers(0, len(GOOD)).map(lambda end: wire.packets(GOOD[:end], 1)),
    st.integers(0, 255).map(lambda sequence: wire.packets(GOOD, sequence)),
    st.tuples(st.integers(0, 3), st.binary(max_size=40)).map(
        lambda given: wire.packets(GOOD[:32] + given[1], given[0])
    ),
    st.sampled_from([b"\xff\xff\xff\x01", b"\0\0\4\1" + bytes(4096), b"\0\0\0\1"]),
)


def _last_words(connection: socket.socket) -> bytes:
    said = b""
    with contextlib.suppress(ConnectionError):
        while data := connection.recv(65536):
            said += data
    return said


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(PIECES, min_size=1, max_size=3))
def test_bad_input_ends_in_an_error_and_harms_nobody(
    proxy: ProxyProcess, neighbour: MysqlClient, pieces: list[bytes]
) -> None:
    with socket.create_connection((proxy.host, proxy.port), timeout=10) as connection:
        greeting = connection.recv(4096)
        assert greeting[4] == 10
        with contextlib.suppress(ConnectionError):
            connection.sendall(b"".join(pieces))
            connection.shutdown(socket.SHUT_WR)
        said = _last_words(connection)
    if said:
        # An error, perhaps behind a request to use another plugin.
        assert said[4] in (0xFF, 0xFE), said
    assert neighbour.rows("SELECT 1") == [("1",)]


@pytest.mark.parametrize(
    ("packet", "errno"),
    [
        (wire.packets(GOOD, 7), 1043),
        (wire.packets(b"", 1), 1043),
        (wire.packets(b"hello", 1), 1043),
        (b"\xff\xff\xff\x01", 1043),
    ],
)
def test_bad_handshakes_are_told_why(proxy: ProxyProcess, packet: bytes, errno: int) -> None:
    with socket.create_connection((proxy.host, proxy.port), timeout=10) as connection:
        connection.recv(4096)
        connection.sendall(packet)
        said = _last_words(connection)
    assert said[4] == 0xFF
    assert int.from_bytes(said[5:7], "little") == errno
    assert said[7:8] == b"#"
