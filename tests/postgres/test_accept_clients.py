"""libpq and asyncpg log in to us: every method, in clear, over TLS, and with direct TLS."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import ssl
from typing import TYPE_CHECKING, Any

import asyncpg
import psycopg
import psycopg.pq
import pytest
from psycopg.conninfo import make_conninfo

from proxy.errors import ProxyError
from proxy.net.conversation import ConversationProtocol
from proxy.net.tls import ServerTls
from proxy.postgres import messages
from proxy.postgres.accept import ClientLogin, accept, client_secret
from proxy.postgres.auth import md5_hash
from proxy.postgres.reply import error_reply
from proxy.postgres.scram import derive_keys, format_verifier
from tests.support.certificates import Certificates, make_certificates

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from proxy.postgres.accept import ClientSecret
    from proxy.wire.steps import Fetch

PASSWORD = "p\u00e4ss\u00a0w\u00f6rd"
"""SASLprep makes a plain space of the other one."""
STORED = {
    "password": PASSWORD,
    "verifier": format_verifier(derive_keys(PASSWORD.encode(), b"salt of a verifier", 4096)),
    "md5": md5_hash(PASSWORD.encode(), "app"),
}
LIBPQ_17 = psycopg.pq.version() >= 170000


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """What we show."""
    return make_certificates(tmp_path_factory.mktemp("tls"))


@contextlib.asynccontextmanager
async def accepting(
    files: Certificates, method: str, stored: str | None
) -> AsyncIterator[tuple[int, asyncio.Queue[ClientLogin]]]:
    """Let clients log in and tell them we are ready; give the port, and who came."""
    loop = asyncio.get_running_loop()
    tls = ServerTls(str(files.certificate), str(files.key))
    arrived: asyncio.Queue[ClientLogin] = asyncio.Queue()
    derived: dict[str, Any] = {}
    tasks = set()

    async def fetch(_: Fetch) -> ClientSecret:
        return client_secret(method, stored, derived)

    async def serve(connection: ConversationProtocol) -> None:
        try:
            first = await connection.first_byte()
            result = await connection.run(
                accept(
                    tls_available=True,
                    tls_required=False,
                    direct_tls=first == 0x16,
                    local_peer=True,
                    nonce=secrets.token_bytes,
                ),
                context=tls.context,
                server_side=True,
                own_certificate=tls.certificate_der,
                fetch=fetch,
            )
        except ProxyError as error:
            connection.send(error_reply(error))
            connection.close()
            return
        except (EOFError, OSError):
            return
        assert isinstance(result, ClientLogin)
        connection.send(
            messages.parameter_status("server_version", "18.0")
            + messages.parameter_status("client_encoding", "UTF8")
            + messages.backend_key_data(1, b"k" * (32 if result.minor >= 2 else 4))
            + messages.ready_for_query()
        )
        arrived.put_nowait(result)
        await connection.closed()

    def connected(connection: ConversationProtocol) -> None:
        tasks.add(loop.create_task(serve(connection)))

    server = await loop.create_server(lambda: ConversationProtocol(connected), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], arrived
    finally:
        server.close()
        await asyncio.gather(*tasks)


async def connect(port: int, password: str = PASSWORD, **options: str) -> None:
    """Connect with libpq and leave."""
    always: dict[str, str | int] = {
        "host": "localhost",
        "hostaddr": "127.0.0.1",
        "port": port,
        "user": "app",
        "dbname": "db",
        "password": password,
        "connect_timeout": 10,
    }

    def work() -> None:
        psycopg.connect(make_conninfo("", **{**always, **options})).close()

    await asyncio.to_thread(work)


CASES = [
    ("scram-sha-256", "password"),
    ("scram-sha-256", "verifier"),
    ("md5", "password"),
    ("md5", "md5"),
    ("md5", "verifier"),
    ("password", "password"),
    ("password", "verifier"),
    ("password", "md5"),
]


@pytest.mark.parametrize(("method", "stored"), CASES)
@pytest.mark.parametrize("mode", ["disable", "require"])
async def test_libpq(files: Certificates, method: str, stored: str, mode: str) -> None:
    async with accepting(files, method, STORED[stored]) as (port, arrived):
        await connect(port, sslmode=mode, options="-c a.b=c", application_name="x")
        came = await arrived.get()
        assert (came.user, came.database) == ("app", "db")
        assert (came.tls is not None) == (mode == "require")
        assert came.options == {"a.b": "c"}
        assert came.parameters["application_name"] == "x"
        assert (came.client_keys is not None) == (stored == "verifier")
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            await connect(port, "wrong", sslmode=mode)


async def test_unknown_user(files: Certificates) -> None:
    for method in ("scram-sha-256", "md5", "password"):
        async with accepting(files, method, None) as (port, _):
            with pytest.raises(
                psycopg.OperationalError, match='password authentication failed for user "app"'
            ):
                await connect(port)


async def test_channel_binding(files: Certificates) -> None:
    async with accepting(files, "scram-sha-256", PASSWORD) as (port, arrived):
        await connect(
            port,
            sslmode="verify-full",
            sslrootcert=str(files.authority),
            channel_binding="require",
        )
        assert (await arrived.get()).tls is not None
        await connect(port, sslmode="require", channel_binding="disable")


@pytest.mark.skipif(not LIBPQ_17, reason="psycopg's libpq is older than 17")
async def test_direct_tls(files: Certificates) -> None:
    async with accepting(files, "scram-sha-256", PASSWORD) as (port, arrived):
        await connect(
            port,
            sslmode="verify-full",
            sslrootcert=str(files.authority),
            sslnegotiation="direct",
            channel_binding="require",
        )
        came = await arrived.get()
        assert came.tls is not None
        assert came.tls.alpn == "postgresql"


@pytest.mark.skipif(psycopg.pq.version() < 180000, reason="psycopg's libpq is older than 18")
async def test_protocol_3_2(files: Certificates) -> None:
    async with accepting(files, "scram-sha-256", PASSWORD) as (port, arrived):
        for version, minor in (("3.0", 0), ("3.2", 2), ("latest", 2)):
            await connect(port, max_protocol_version=version)
            assert (await arrived.get()).minor == minor


@pytest.mark.parametrize("method", ["scram-sha-256", "md5", "password"])
@pytest.mark.parametrize("secure", [False, True])
async def test_asyncpg(files: Certificates, method: str, secure: bool) -> None:
    context = ssl.create_default_context(cafile=str(files.authority)) if secure else False
    password = "p\u00e4ssw\u00f6rd"
    async with accepting(files, method, password) as (port, arrived):
        connection = await asyncpg.connect(
            host="localhost", port=port, user="app", database="db", password=password, ssl=context
        )
        connection.terminate()
        assert ((await arrived.get()).tls is not None) == secure
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(
                host="localhost", port=port, user="app", database="db", password="no", ssl=context
            )
