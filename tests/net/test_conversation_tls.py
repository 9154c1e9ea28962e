"""The driver's TLS over real sockets, on asyncio's loop and on uvloop."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import ssl
from typing import TYPE_CHECKING, Any

import pytest

from proxy.errors import ClientAuthError, ClientProtocolError
from proxy.net.tls import ServerTls, client_context
from proxy.postgres.accept import CancelRequest, ClientLogin, ClientSecret, accept, client_secret
from proxy.postgres.login import ServerLogin, login, server_secret
from proxy.wire.steps import Fetch, Read, StartTls, TlsFacts
from tests.support import messages as wire
from tests.support.certificates import Certificates, make_certificates
from tests.support.connections import Run, Successor, dialled, raw, serving
from tests.support.wire import tls_context

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proxy.net.conversation import ConversationProtocol
    from proxy.wire.steps import Conversation
READY = wire.message("Z", b"I")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """What the server shows."""
    return make_certificates(tmp_path_factory.mktemp("tls"))


def acceptor(
    files: Certificates, secret: ClientSecret
) -> Callable[[ConversationProtocol], Awaitable[ClientLogin | CancelRequest]]:
    """Serve as the proxy does: look at the first byte, then accept."""
    tls = ServerTls(str(files.certificate), str(files.key))

    async def fetch(_: Fetch) -> ClientSecret:
        return secret

    async def serve(connection: ConversationProtocol) -> ClientLogin | CancelRequest:
        first = await connection.first_byte()
        conversation = accept(
            tls_available=True,
            tls_required=True,
            direct_tls=first == 0x16,
            local_peer=False,
            nonce=secrets.token_bytes,
        )
        result = await connection.run(
            conversation,
            context=tls.context,
            server_side=True,
            own_certificate=tls.certificate_der,
            fetch=fetch,
        )
        connection.send(READY)
        return result

    return serve


def log_in(password: str) -> Conversation[ServerLogin]:
    """Log in with TLS."""
    return login(
        user="app",
        database="db",
        parameters={},
        tls_mode="verify-full",
        unix_socket=False,
        secret=server_secret(password, {}, None),
        nonce=secrets.token_bytes,
    )


def test_both_sides_of_a_login_with_channel_binding(run: Run, files: Certificates) -> None:
    context = client_context("verify-full", str(files.authority))

    async def scenario() -> None:
        serve = acceptor(files, client_secret("scram-sha-256", "secret", {}))
        async with serving(serve) as served:
            async with dialled(served.port) as client:
                session = await client.run(
                    log_in("secret"), context=context, server_hostname="localhost"
                )
                result = await served.outcome()
                assert session.tls is not None
                assert session.tls.version == result.tls.version == "TLSv1.3"
                assert session.tls.alpn == result.tls.alpn == "postgresql"
                assert session.tls.peer_certificate == result.tls.own_certificate != b""
                assert session.tls.cipher == result.tls.cipher
                # The transport is the TLS one from here on.
                successor = Successor()
                assert served.connections[0].hand_over(successor) == b""
                client.send(b"through TLS")
                await successor.heard.wait()
                assert successor.data == b"through TLS"
                client.close()
                assert await successor.lost is None
            async with dialled(served.port) as client:
                working = client.run(log_in("no"), context=context, server_hostname="localhost")
                trying = asyncio.get_running_loop().create_task(working)
                with pytest.raises(ClientAuthError):
                    await served.outcome()
                served.connections[-1].close()
                with pytest.raises((EOFError, OSError)):
                    await trying

    run(scenario())


class MemoryClient:
    """A TLS client whose bytes we send as we like."""

    def __init__(self, client: socket.socket, context: ssl.SSLContext, piece: int) -> None:
        self.client = client
        self.piece = piece
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")

    async def flush(self) -> None:
        """Send what TLS has to say, in pieces."""
        loop = asyncio.get_running_loop()
        data = self.outgoing.read()
        for start in range(0, len(data), self.piece):
            await loop.sock_sendall(self.client, data[start : start + self.piece])
            await asyncio.sleep(0)

    async def retry(self, action: Callable[[], Any]) -> Any:  # noqa: ANN401
        """Do something that may need bytes from the server."""
        while True:
            try:
                return action()
            except ssl.SSLWantReadError:
                await self.flush()
                data = await asyncio.get_running_loop().sock_recv(self.client, 65536)
                if not data:
                    raise EOFError from None
                self.incoming.write(data)


@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
@pytest.mark.parametrize("direct", [True, False])
def test_handshakes_in_pieces(
    run: Run,
    files: Certificates,
    piece: int,
    direct: bool,
) -> None:
    """A direct handshake's first bytes have been read as clear text before it starts."""
    context = tls_context(files.authority)

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        serve = acceptor(files, client_secret("trust-anywhere", None, {}))
        async with serving(serve) as served, raw(served.port) as client:
            if not direct:
                await loop.sock_sendall(client, wire.SSL_REQUEST)
                assert await loop.sock_recv(client, 100) == b"S"
            other = MemoryClient(client, context, piece)
            await other.retry(other.tls.do_handshake)
            other.tls.write(wire.startup({"user": "app"}))
            await other.flush()
            assert await other.retry(lambda: other.tls.read(1)) == b"R"
            result = await served.outcome()
            assert (result.user, result.tls.alpn) == ("app", "postgresql")

    run(scenario())


def test_hello_and_startup_at_once(run: Run, files: Certificates) -> None:
    """TLS 1.2: the client's last flight and its start-up packet come in one piece."""
    context = tls_context(files.authority)
    context.maximum_version = ssl.TLSVersion.TLSv1_2

    async def scenario() -> None:
        serve = acceptor(files, client_secret("trust-anywhere", None, {}))
        async with serving(serve) as served, raw(served.port) as client:
            other = MemoryClient(client, context, 1 << 20)
            await other.retry(other.tls.do_handshake)
            other.tls.write(wire.startup({"user": "app"}))
            await other.flush()
            result = await served.outcome()
            assert (result.user, result.tls.version) == ("app", "TLSv1.2")

    run(scenario())


def test_clear_text_behind_an_ssl_request(run: Run, files: Certificates) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        serve = acceptor(files, client_secret("trust-anywhere", None, {}))
        async with serving(serve) as served, raw(served.port) as client:
            await loop.sock_sendall(client, wire.SSL_REQUEST + wire.startup({"user": "app"}))
            with pytest.raises(ClientProtocolError, match="unencrypted data after SSL request"):
                await served.outcome()

    run(scenario())


def test_hello_behind_an_ssl_request(run: Run, files: Certificates) -> None:
    """Sent before our answer it may be an attacker's: PostgreSQL refuses it, too."""

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        serve = acceptor(files, client_secret("trust-anywhere", None, {}))
        async with serving(serve) as served, raw(served.port) as client:
            other = MemoryClient(client, tls_context(files.authority), 1 << 20)
            with contextlib.suppress(ssl.SSLWantReadError):
                other.tls.do_handshake()
            await loop.sock_sendall(client, wire.SSL_REQUEST + other.outgoing.read())
            with pytest.raises(ClientProtocolError, match="unencrypted data after SSL request"):
                await served.outcome()

    run(scenario())


@pytest.mark.parametrize("garbage", [b"\x16\x03\x01\xff\xff" + b"x" * 2000, b"\x16", b"\x16GET /"])
def test_handshakes_that_fail(run: Run, files: Certificates, garbage: bytes) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        serve = acceptor(files, client_secret("trust-anywhere", None, {}))
        async with serving(serve) as served:
            for first in (b"", wire.SSL_REQUEST):
                async with raw(served.port) as client:
                    if first:
                        await loop.sock_sendall(client, first)
                        assert await loop.sock_recv(client, 1) == b"S"
                    await loop.sock_sendall(client, garbage)
                    client.shutdown(socket.SHUT_WR)
                    with pytest.raises((OSError, EOFError)):
                        await served.outcome()
                    assert served.connections[-1].is_closed

    run(scenario())


def test_a_login_deadline_cuts_a_handshake_short(run: Run, files: Certificates) -> None:
    inner = acceptor(files, client_secret("trust-anywhere", None, {}))

    async def serve(connection: ConversationProtocol) -> None:
        async with asyncio.timeout(0.1):
            await inner(connection)

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        async with serving(serve) as served, raw(served.port) as client:
            await loop.sock_sendall(client, b"\x16\x03\x01")
            with pytest.raises(TimeoutError):
                await served.outcome()
            with contextlib.suppress(ConnectionResetError):
                assert await loop.sock_recv(client, 1) == b""

    run(scenario())


@pytest.mark.parametrize("name", ["elsewhere", "localhost"])
def test_a_server_that_is_not_trusted(run: Run, files: Certificates, name: str) -> None:
    authority = "" if name == "localhost" else str(files.authority)

    async def scenario() -> None:
        serve = acceptor(files, client_secret("trust-anywhere", None, {}))
        async with serving(serve) as served, dialled(served.port) as client:
            with pytest.raises(ssl.SSLCertVerificationError):
                await client.run(
                    log_in("secret"),
                    context=client_context("verify-full", authority),
                    server_hostname=name,
                )
            assert client.is_closed
            with pytest.raises((OSError, EOFError)):
                await served.outcome()

    run(scenario())


def test_what_the_caller_forgot(run: Run) -> None:
    def upgrade() -> Conversation[None]:
        yield StartTls()

    def ask() -> Conversation[None]:
        yield Fetch("app", "db")

    async def scenario() -> None:
        for conversation in (upgrade, ask):
            async with (
                serving(lambda c, make=conversation: c.run(make())) as served,  # type: ignore[misc]
                raw(served.port),
            ):
                with pytest.raises(TypeError, match="this conversation"):
                    await served.outcome()

    run(scenario())


@pytest.mark.parametrize("piece", [1, 7, 100, 1 << 20])
def test_a_handshake_that_waits_for_no_answer(run: Run, files: Certificates, piece: int) -> None:
    """MySQL's clients say hello right behind their request, perhaps in one piece with it."""
    tls = ServerTls(str(files.certificate), str(files.key))

    def polite() -> Conversation[tuple[TlsFacts, bytes]]:
        request = yield Read(7)
        assert request == b"request"
        facts = yield StartTls(begun=True)
        return facts, (yield Read(5))

    async def serve(connection: ConversationProtocol) -> tuple[TlsFacts, bytes]:
        return await connection.run(polite(), context=tls.context, server_side=True)

    async def scenario() -> None:
        async with serving(serve) as served, raw(served.port) as client:
            other = MemoryClient(client, tls_context(files.authority), piece)
            with contextlib.suppress(ssl.SSLWantReadError):
                other.tls.do_handshake()
            hello = b"request" + other.outgoing.read()
            for start in range(0, len(hello), piece):
                await asyncio.get_running_loop().sock_sendall(client, hello[start : start + piece])
                await asyncio.sleep(0)
            await other.retry(other.tls.do_handshake)
            other.tls.write(b"hello")
            await other.flush()
            facts, said = await served.outcome()
            assert (facts.version, said) == ("TLSv1.3", b"hello")

    run(scenario())
