"""TLS on both sides of the proxy, and who checks whose certificate."""

from __future__ import annotations

import shutil
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import psycopg.pq
import pytest

from tests.support import messages as wire
from tests.support.certificates import Certificates, make_certificates
from tests.support.proxy import ProxyProcess, ProxySettings
from tests.support.wire import Closed, WireClient, connect, eventually, tls_context

if TYPE_CHECKING:
    from tests.support.proxy import StartProxy
    from tests.support.servers import PostgresServer

SSL_INFO = "SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
LIBPQ_17 = psycopg.pq.version() >= 170000


@pytest.fixture(params=["direct", "proxied"])
def secure(
    request: pytest.FixtureRequest, tls_server: PostgresServer
) -> PostgresServer | ProxyProcess:
    """A place that offers TLS: the server, then a proxy."""
    if request.param == "direct":
        return tls_server
    proxy: ProxyProcess = request.getfixturevalue("pooled")
    return proxy


def authority(place: PostgresServer | ProxyProcess) -> str:
    """Give the path of the authority that signed the place's certificate."""
    assert place.certificates is not None
    return str(place.certificates.authority)


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer", "require"])
def test_modes(secure: PostgresServer | ProxyProcess, mode: str) -> None:
    with psycopg.connect(secure.conninfo(sslmode=mode)) as connection:
        assert connection.pgconn.ssl_in_use == (mode in ("prefer", "require"))
        assert connection.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize("user", ["app", "other"])
def test_verify_full_with_channel_binding(secure: PostgresServer | ProxyProcess, user: str) -> None:
    info = secure.conninfo(
        user,
        "app",
        host="localhost",
        sslmode="verify-full",
        sslrootcert=authority(secure),
        channel_binding="require",
    )
    with psycopg.connect(info) as connection:
        assert connection.execute("SELECT current_user").fetchone() == (user,)


def test_channel_binding_needs_tls(secure: PostgresServer | ProxyProcess) -> None:
    info = secure.conninfo(sslmode="disable", channel_binding="require")
    with pytest.raises(psycopg.OperationalError, match="channel binding"):
        psycopg.connect(info)


def test_another_authority_is_not_trusted(
    secure: PostgresServer | ProxyProcess, tmp_path: Path
) -> None:
    stranger = make_certificates(tmp_path, "stranger")
    info = secure.conninfo(sslmode="verify-ca", sslrootcert=str(stranger.authority))
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        psycopg.connect(info)


@pytest.mark.skipif(not LIBPQ_17, reason="psycopg's libpq is older than 17")
def test_direct_tls_by_libpq(pooled: ProxyProcess) -> None:
    info = pooled.conninfo(
        host="localhost",
        sslmode="verify-full",
        sslrootcert=authority(pooled),
        sslnegotiation="direct",
        channel_binding="require",
    )
    with psycopg.connect(info) as connection:
        assert connection.pgconn.ssl_in_use
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_direct_tls_chooses_the_protocol(pooled: ProxyProcess) -> None:
    with WireClient(pooled.host, pooled.port) as client:
        client.start_tls(tls_context(Path(authority(pooled))), direct=True)
        assert isinstance(client.socket, ssl.SSLSocket)
        assert client.socket.selected_alpn_protocol() == "postgresql"
        assert client.login()[-1].code == "Z"


def test_direct_tls_without_the_protocol_is_refused(pooled: ProxyProcess) -> None:
    """PostgreSQL: direct TLS needs ALPN, against cross-protocol attacks."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with WireClient(pooled.host, pooled.port) as client:
        try:
            client.start_tls(context, direct=True)
            last = client.login()[-1].code
        except (OSError, Closed):
            return
        assert last == "E"


def test_old_tls_versions_are_refused(pooled: ProxyProcess) -> None:
    context = tls_context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="deprecated"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.warns(DeprecationWarning, match="deprecated"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with WireClient(pooled.host, pooled.port) as client, pytest.raises(OSError, match=r"(?i)ssl"):
        client.start_tls(context)


def test_broken_handshake_harms_nobody(pooled: ProxyProcess) -> None:
    for garbage in (b"", b"\x16\x03\x01", b"\x16\x03\x01\xff\xff" + b"x" * 2000, b"GET / HTTP/1.1"):
        with WireClient(pooled.host, pooled.port) as client:
            client.send(wire.SSL_REQUEST)
            assert client.read_bytes(1) == b"S"
            client.send(garbage)
    with connect(pooled.host, pooled.port) as client:
        assert client.value("SELECT 1") == "1"


def test_second_ssl_request_inside_tls_is_refused(pooled: ProxyProcess) -> None:
    with WireClient(pooled.host, pooled.port) as client:
        client.start_tls(tls_context())
        client.send(wire.SSL_REQUEST)
        assert client.socket.recv(1) != b"S"


def test_cancel_over_tls(pooled: ProxyProcess) -> None:
    with connect(pooled.host, pooled.port) as client:
        client.send(wire.query("SELECT pg_sleep(30)"))
        with WireClient(pooled.host, pooled.port) as messenger:
            messenger.start_tls(tls_context())
            messenger.send(wire.cancel(client.pid, client.key))
            assert messenger.drain() == []
        assert wire.states(client.read_until()) == ["57014"]


def test_large_rows_through_tls(secure: PostgresServer | ProxyProcess) -> None:
    with psycopg.connect(secure.conninfo(sslmode="require")) as connection:
        row = connection.execute("SELECT repeat('x', 20000000), %s", ("y" * 5000000,)).fetchone()
        assert row is not None
        assert (len(row[0]), len(row[1])) == (20000000, 5000000)


def test_tls_required_of_clients(
    server: PostgresServer,
    proxy_certificates: Certificates,
    start_proxy: StartProxy,
) -> None:
    proxy = start_proxy(
        ProxySettings(server, proxy={"require_tls": True}, certificates=proxy_certificates)
    )
    with WireClient(proxy.host, proxy.port) as client:
        assert wire.states(client.login()) == ["28000"]
    with psycopg.connect(proxy.conninfo(sslmode="require")) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_certificate_is_read_again_when_it_changes(
    server: PostgresServer, tmp_path: Path, start_proxy: StartProxy
) -> None:
    old, new = make_certificates(tmp_path, "old"), make_certificates(tmp_path, "new")
    shown = Certificates(old.authority, tmp_path / "shown.pem", tmp_path / "shown.key")
    shutil.copy(old.certificate, shown.certificate)
    shutil.copy(old.key, shown.key)
    proxy = start_proxy(ProxySettings(server, certificates=shown))

    def trusted(by: Certificates) -> bool:
        info = proxy.conninfo(sslmode="verify-ca", sslrootcert=str(by.authority))
        try:
            psycopg.connect(info).close()
        except psycopg.OperationalError:
            return False
        return True

    assert trusted(old)
    with psycopg.connect(proxy.conninfo(sslmode="require")) as standing:
        shutil.copy(new.key, shown.key)
        shutil.copy(new.certificate, shown.certificate)
        eventually(lambda: trusted(new), "showing the new certificate")
        assert not trusted(old)
        assert standing.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize("mode", ["disable", "prefer", "require", "verify-ca", "verify-full"])
def test_tls_towards_the_server(
    tls_server: PostgresServer, start_proxy: StartProxy, mode: str
) -> None:
    target = {"tls": mode, "host": "localhost"}
    if mode.startswith("verify"):
        target["tls_ca"] = authority(tls_server)
    proxy = start_proxy(ProxySettings(tls_server, target=target))
    with connect(proxy.host, proxy.port) as client:
        assert client.query(SSL_INFO)[1].row[0] == (b"f" if mode == "disable" else b"t")


def test_prefer_takes_a_server_without_tls(server: PostgresServer, start_proxy: StartProxy) -> None:
    if server.certificates is not None:
        pytest.skip("this server speaks TLS; the embedded one does not")
    proxy = start_proxy(ProxySettings(server, target={"tls": "prefer"}))
    with connect(proxy.host, proxy.port) as client:
        assert client.value("SELECT 1") == "1"


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
def test_a_server_without_tls_is_refused(
    server: PostgresServer, start_proxy: StartProxy, mode: str
) -> None:
    if server.certificates is not None:
        pytest.skip("this server speaks TLS; the embedded one does not")
    proxy = start_proxy(ProxySettings(server, target={"tls": mode}))
    with WireClient(proxy.host, proxy.port) as client:
        assert wire.states(client.login())[0][:2] == "08"


@pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
def test_an_impostor_is_refused(
    tls_server: PostgresServer, tmp_path: Path, start_proxy: StartProxy, mode: str
) -> None:
    stranger = make_certificates(tmp_path, "stranger")
    target = {"tls": mode, "host": "localhost", "tls_ca": str(stranger.authority)}
    proxy = start_proxy(ProxySettings(tls_server, target=target))
    with WireClient(proxy.host, proxy.port) as client:
        assert wire.states(client.login())[0][:2] == "08"
    assert not tls_server.backends(usename="app")


def test_tls_on_both_sides(
    tls_server: PostgresServer, proxy_certificates: Certificates, start_proxy: StartProxy
) -> None:
    target = {"tls": "verify-full", "host": "localhost", "tls_ca": authority(tls_server)}
    proxy = start_proxy(ProxySettings(tls_server, target=target, certificates=proxy_certificates))
    with psycopg.connect(
        proxy.conninfo(sslmode="require", channel_binding="require")
    ) as connection:
        row = connection.execute(SSL_INFO.encode()).fetchone()
        assert row == (True, "TLSv1.3")


def test_md5_and_password_towards_the_server(
    server: PostgresServer, start_proxy: StartProxy
) -> None:
    proxy = start_proxy(ProxySettings(server))
    for user in ("app_md5", "app_plain", "app_trust"):
        with connect(proxy.host, proxy.port, user) as client:
            assert client.value("SELECT session_user") == user
