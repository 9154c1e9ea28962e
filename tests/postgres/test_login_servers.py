"""Logging in to real servers, through the driver: every method, with and without TLS."""

from __future__ import annotations

import asyncio
import secrets
import ssl
from typing import TYPE_CHECKING

import pytest

from proxy.errors import ConnectFailed, CredentialError, ServerRefused
from proxy.net.conversation import ConversationProtocol
from proxy.net.tls import client_context
from proxy.postgres.accept import ClientLogin, accept, client_secret
from proxy.postgres.auth import md5_hash
from proxy.postgres.login import ServerLogin, ServerSecret, login, server_secret
from proxy.postgres.warmup import ask
from tests.support.play import Player, converse
from tests.support.servers import ROLES

if TYPE_CHECKING:
    from proxy.postgres.scram import ScramKeys
    from tests.support.servers import PostgresServer


async def log_in(
    server: PostgresServer,
    user: str,
    secret: ServerSecret,
    *,
    mode: str = "disable",
    database: str = "app",
    host: str = "localhost",
    authority: str = "",
    minor: int = 2,
) -> ServerLogin:
    """Log in, ask who we are, and leave."""
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(ConversationProtocol, server.host, server.port)
    try:
        session = await connection.run(
            login(
                user=user,
                database=database,
                parameters={"application_name": "tidegate-test", "TimeZone": "Asia/Kolkata"},
                tls_mode=mode,
                unix_socket=False,
                secret=secret,
                nonce=secrets.token_bytes,
                minor=minor,
            ),
            context=client_context(mode, authority),
            server_hostname=host,
        )
        rows = await connection.run(ask("SELECT session_user, pg_backend_pid()"))
        assert rows == [[user.encode(), str(session.process_id).encode()]]
        return session
    finally:
        connection.abort()


def password(user: str) -> ServerSecret:
    """Make the secret of a role's right password."""
    return server_secret(ROLES[user].password, {}, None)


@pytest.mark.parametrize("user", sorted(ROLES))
async def test_every_method(server: PostgresServer, user: str) -> None:
    session = await log_in(server, user, password(user))
    assert session.parameters["TimeZone"] == "Asia/Kolkata"
    assert session.parameters["server_version"].startswith(str(server.version))
    expected = (2, 32) if server.version >= 18 else (0, 4)
    assert (session.minor, len(session.secret)) == expected


async def test_protocol_3_0(server: PostgresServer) -> None:
    session = await log_in(server, "app", password("app"), minor=0)
    assert (session.minor, len(session.secret)) == (0, 4)


async def test_md5_hash_in_place_of_the_password(server: PostgresServer) -> None:
    hashed = md5_hash(ROLES["app_md5"].password.encode(), "app_md5")
    await log_in(server, "app_md5", server_secret(hashed, {}, None))


@pytest.mark.parametrize("user", ["app", "app_md5", "app_plain"])
async def test_wrong_password(server: PostgresServer, user: str) -> None:
    with pytest.raises(ServerRefused) as caught:
        await log_in(server, user, server_secret("wrong", {}, None))
    assert caught.value.code == "28P01"
    assert caught.value.definitive
    assert str(caught.value) == f'password authentication failed for user "{user}"'
    assert caught.value.response[:1] == b"E"


async def test_no_such_database(server: PostgresServer) -> None:
    with pytest.raises(ServerRefused, match='database "nosuch" does not exist') as caught:
        await log_in(server, "app", password("app"), database="nosuch")
    assert caught.value.code == "3D000"


async def test_no_password(server: PostgresServer) -> None:
    await log_in(server, "app_trust", server_secret("", {}, None))
    with pytest.raises(CredentialError, match="holds no password"):
        await log_in(server, "app", server_secret("", {}, None))


def revealed(verifier: str, attempt: str) -> ScramKeys | None:
    """Let a client log in to us, who know the verifier only; give what that reveals."""
    one = Player(
        accept(
            tls_available=False,
            tls_required=False,
            direct_tls=False,
            local_peer=False,
            nonce=secrets.token_bytes,
        ),
        fetch=lambda _: client_secret("scram-sha-256", verifier, {}),
    )
    other = Player(
        login(
            user="app",
            database="app",
            parameters={},
            tls_mode="disable",
            unix_socket=False,
            secret=server_secret(attempt, {}, None),
            nonce=secrets.token_bytes,
        )
    )
    converse(other, one)
    assert isinstance(one.result, ClientLogin)
    return one.result.client_keys


async def test_verifier_alone_logs_in_with_what_a_client_revealed(server: PostgresServer) -> None:
    stored = server.admin("SELECT rolpassword FROM pg_authid WHERE rolname = 'app'")[0][0]
    with pytest.raises(CredentialError, match="serves once a client has logged in"):
        await log_in(server, "app", server_secret(stored, {}, None))
    found = revealed(stored, ROLES["app"].password)
    await log_in(server, "app", server_secret(stored, {}, found))


# TLS.


@pytest.mark.parametrize("mode", ["prefer", "require", "verify-ca", "verify-full"])
async def test_tls(tls_server: PostgresServer, mode: str) -> None:
    assert tls_server.certificates is not None
    for user in ("app", "app_md5"):
        session = await log_in(
            tls_server,
            user,
            password(user),
            mode=mode,
            authority=str(tls_server.certificates.authority) if "verify" in mode else "",
        )
        assert session.tls is not None
        assert session.tls.version == "TLSv1.3"
        shown = ssl.PEM_cert_to_DER_cert(tls_server.certificates.certificate.read_text())
        assert session.tls.peer_certificate == shown


async def test_tls_disabled(tls_server: PostgresServer) -> None:
    assert (await log_in(tls_server, "app", password("app"))).tls is None


async def test_tls_that_cannot_be_trusted(tls_server: PostgresServer) -> None:
    assert tls_server.certificates is not None
    authority = str(tls_server.certificates.authority)
    with pytest.raises(ssl.SSLCertVerificationError):
        await log_in(tls_server, "app", password("app"), mode="verify-ca")
    with pytest.raises(ssl.SSLCertVerificationError):
        await log_in(
            tls_server,
            "app",
            password("app"),
            mode="verify-full",
            host="elsewhere",
            authority=authority,
        )


async def test_server_without_tls(server: PostgresServer) -> None:
    if server.certificates is not None:
        pytest.skip("this server speaks TLS; the embedded one does not")
    assert (await log_in(server, "app", password("app"), mode="prefer")).tls is None
    with pytest.raises(ConnectFailed, match="does not support TLS"):
        await log_in(server, "app", password("app"), mode="require")
