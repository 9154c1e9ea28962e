"""The driver over real sockets, on asyncio's loop and on uvloop."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import ssl
import struct
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

from proxy.errors import ClientAuthError, ClientProtocolError, ServerProtocolError
from proxy.net.conversation import BUFFER_BYTES, ConversationProtocol
from proxy.net.tls import ServerTls, client_context
from proxy.postgres.accept import CancelRequest, ClientLogin, ClientSecret, accept, client_secret
from proxy.postgres.login import ServerLogin, login, server_secret
from proxy.wire.steps import Fetch, Read, Send, StartTls, TlsFacts
from tests.support import messages as wire
from tests.support.certificates import Certificates, make_certificates
from tests.support.wire import tls_context

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine

    from proxy.wire.steps import Conversation

    Run = Callable[[Coroutine[Any, Any, None]], None]

READY = wire.message("Z", b"I")
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a coroutine on one loop, then on the other; it may take ten seconds."""

    def runner(work: Coroutine[Any, Any, None]) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(10):
                await work

        with asyncio.Runner(loop_factory=LOOPS[request.param]) as started:
            started.run(bounded())

    return runner


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """What the server shows."""
    return make_certificates(tmp_path_factory.mktemp("tls"))


class Served:
    """A listening socket, and what came of serving its connections."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.outcomes: asyncio.Queue[Any] = asyncio.Queue()
        self.connections: list[ConversationProtocol] = []
        self.tasks: set[asyncio.Task[None]] = set()

    async def outcome(self) -> Any:  # noqa: ANN401
        """Give the next result, or raise the next error."""
        found = await self.outcomes.get()
        if isinstance(found, BaseException):
            raise found
        return found


@contextlib.asynccontextmanager
async def serving(
    serve: Callable[[ConversationProtocol], Awaitable[Any]], path: str = ""
) -> AsyncIterator[Served]:
    """Serve every connection with a coroutine."""
    loop = asyncio.get_running_loop()
    served = Served(0)

    async def attend(connection: ConversationProtocol) -> None:
        try:
            served.outcomes.put_nowait(await serve(connection))
        except Exception as error:
            served.outcomes.put_nowait(error)

    def connected(connection: ConversationProtocol) -> None:
        served.connections.append(connection)
        served.tasks.add(loop.create_task(attend(connection)))

    def protocol() -> ConversationProtocol:
        return ConversationProtocol(connected)

    if path:
        server = await loop.create_unix_server(protocol, path)
    else:
        server = await loop.create_server(protocol, "127.0.0.1", 0)
        served.port = server.sockets[0].getsockname()[1]
    try:
        yield served
    finally:
        server.close()
        for connection in served.connections:
            connection.abort()
        for task in served.tasks:
            task.cancel()
        await asyncio.gather(*served.tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def dialled(port: int) -> AsyncIterator[ConversationProtocol]:
    """Connect, with the driver on our side too."""
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(ConversationProtocol, "127.0.0.1", port)
    try:
        yield connection
    finally:
        connection.abort()


@contextlib.asynccontextmanager
async def raw(port: int) -> AsyncIterator[socket.socket]:
    """Connect with a bare socket (use ``sock_sendall`` and ``sock_recv``)."""
    with socket.socket() as client:
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", port))
        yield client


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until something holds."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0)


def reading(*sizes: int) -> Conversation[list[bytes]]:
    """Read so many bytes, again and again."""
    found = []
    for size in sizes:
        found.append((yield Read(size)))  # noqa: PERF401
    return found


# In clear.


def test_reads_and_sends(run: Run) -> None:
    def echo() -> Conversation[bytes]:
        size = yield Read(1)
        text: bytes = yield Read(size[0])
        yield Send(text.upper())
        return text

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        async with serving(lambda c: c.run(echo())) as served, raw(served.port) as client:
            for byte in b"\x05hello":
                await loop.sock_sendall(client, bytes([byte]))
                await asyncio.sleep(0)
            assert await loop.sock_recv(client, 100) == b"HELLO"
            assert await served.outcome() == b"hello"
            (connection,) = served.connections
            assert connection.peername == client.getsockname()
            assert not connection.is_unix
            assert not connection.is_closed

    run(scenario())


def test_unix_socket(run: Run) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "s")
            async with serving(lambda c: c.run(reading(2)), path) as served:
                _, connection = await loop.create_unix_connection(ConversationProtocol, path)
                connection.send(b"hi")
                assert await served.outcome() == [b"hi"]
                for one in (connection, *served.connections):
                    assert (one.is_unix, one.peername) == (True, "")
                connection.abort()

    run(scenario())


@pytest.mark.parametrize(("sent", "kind"), [(b"", EOFError), (b"abc", ClientProtocolError)])
def test_peer_that_closes(run: Run, sent: bytes, kind: type[Exception]) -> None:
    async def scenario() -> None:
        async def serve(connection: ConversationProtocol) -> None:
            await connection.run(reading(4), server_side=True)

        async with serving(serve) as served, raw(served.port) as client:
            await asyncio.get_running_loop().sock_sendall(client, sent)
            client.shutdown(socket.SHUT_WR)
            with pytest.raises(kind):
                await served.outcome()
            assert served.connections[0].is_closed

    run(scenario())


def test_server_that_closes_in_a_message_is_to_blame(run: Run) -> None:
    async def scenario() -> None:
        async with serving(lambda c: c.run(reading(4))) as served, raw(served.port) as client:
            await asyncio.get_running_loop().sock_sendall(client, b"abc")
            client.close()
            with pytest.raises(ServerProtocolError):
                await served.outcome()

    run(scenario())


def test_peer_that_resets(run: Run) -> None:
    async def scenario() -> None:
        async with serving(lambda c: c.run(reading(4))) as served, raw(served.port) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
            with pytest.raises((OSError, EOFError)):
                await served.outcome()

    run(scenario())


def test_errors_are_raised_into_the_conversation_first(run: Run) -> None:
    def forgiving() -> Conversation[str]:
        try:
            yield Read(1)
        except EOFError:
            return "gone"
        return "there"

    async def scenario() -> None:
        async with serving(lambda c: c.run(forgiving())) as served, raw(served.port) as client:
            client.close()
            assert await served.outcome() == "gone"

    run(scenario())


def test_fetch(run: Run) -> None:
    def asking() -> Conversation[str]:
        with contextlib.suppress(ClientAuthError):
            yield Fetch("nobody", "db")
        answer: str = yield Fetch("app", "db")
        return answer

    async def fetch(command: Fetch) -> str:
        await asyncio.sleep(0)
        if command.user == "nobody":
            raise ClientAuthError("nobody")
        return f"{command.user}@{command.database}"

    async def scenario() -> None:
        async with (
            serving(lambda c: c.run(asking(), fetch=fetch)) as served,
            raw(served.port),
        ):
            assert await served.outcome() == "app@db"

    run(scenario())


def test_cancelling_closes_the_conversation(run: Run) -> None:
    ends = []

    def waiting() -> Conversation[None]:
        try:
            yield Read(1)
        finally:
            ends.append("closed")

    async def serve(connection: ConversationProtocol) -> None:
        async with asyncio.timeout(0):
            await connection.run(waiting())

    async def scenario() -> None:
        async with serving(serve) as served, raw(served.port):
            with pytest.raises(TimeoutError):
                await served.outcome()
        assert ends == ["closed"]

    run(scenario())


def test_a_flood_is_not_buffered(run: Run) -> None:
    size = 1 << 20
    flood = bytes(32 << 20)

    async def serve(connection: ConversationProtocol) -> list[int]:
        held = []
        for _ in range(3):
            for _ in range(20):
                await asyncio.sleep(0.002)
                held.append(len(connection._buffer))
            assert (await connection.run(reading(size))) == [bytes(size)]
        return held

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        async with serving(serve) as served, raw(served.port) as client:
            sending = loop.create_task(loop.sock_sendall(client, flood))
            held = await served.outcome()
            assert BUFFER_BYTES < max(held) <= BUFFER_BYTES + (512 << 10)
            assert not sending.done()
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    run(scenario())


# The end of the conversation.


class Successor(asyncio.Protocol):
    """A protocol that notes what it is told."""

    def __init__(self) -> None:
        self.data = b""
        self.lost = asyncio.get_running_loop().create_future()
        self.heard = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.data += data
        self.heard.set()

    def connection_lost(self, exc: Exception | None) -> None:
        assert not self.lost.done(), "told twice"
        self.lost.set_result(exc)


def test_hand_over(run: Run) -> None:
    async def serve(connection: ConversationProtocol) -> tuple[bytes, Successor]:
        assert await connection.first_byte() == ord("a")
        await connection.run(reading(3))
        successor = Successor()
        leftover = connection.hand_over(successor)
        await successor.heard.wait()
        return leftover, successor

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        async with serving(serve) as served, raw(served.port) as client:
            await loop.sock_sendall(client, b"abcleft")
            await until(lambda: any(one._successor for one in served.connections))
            await loop.sock_sendall(client, b"later")
            leftover, successor = await served.outcome()
            assert (leftover, successor.data) == (b"left", b"later")
            client.close()
            assert await successor.lost is None

    run(scenario())


def test_hand_over_of_a_full_buffer_goes_on_reading(run: Run) -> None:
    size = 8 << 20

    async def serve(connection: ConversationProtocol) -> int:
        await until(lambda: connection._paused)
        successor = Successor()
        total = len(connection.hand_over(successor))
        await successor.lost
        return total + len(successor.data)

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        async with serving(serve) as served, raw(served.port) as client:
            await loop.sock_sendall(client, bytes(size))
            client.close()
            assert await served.outcome() == size

    run(scenario())


def test_hand_over_of_a_lost_connection(run: Run) -> None:
    async def serve(connection: ConversationProtocol) -> Successor:
        await until(lambda: connection._gone)
        successor = Successor()
        connection.hand_over(successor)
        await successor.lost
        return successor

    async def scenario() -> None:
        async with serving(serve) as served, raw(served.port) as client:
            client.close()
            assert (await served.outcome()).data == b""

    run(scenario())


def test_closed(run: Run) -> None:
    async def serve(connection: ConversationProtocol) -> bool:
        await connection.closed()
        return connection.is_closed

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        async with serving(serve) as served, raw(served.port) as client:
            await loop.sock_sendall(client, bytes(1 << 20))
            assert served.outcomes.empty()
            client.close()
            assert await served.outcome() is True

    run(scenario())


# TLS.


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
