"""We are the client: TLS and authentication towards a server, up to the final OK.

    HandshakeV10 ── [SSLRequest, TLS] ── HandshakeResponse41 ─┬─ AuthSwitchRequest ─┐
                                              ┌───────────────┼─ AuthMoreData ──────┤
                                              │               ├─ OK: end            │
                                              │               └─ ERR: ServerRefused │
                                              └── the plugin's answer ──────────────┘

Passwords go in clear through TLS or a Unix socket only, and otherwise encrypted with the RSA key
that the server shows, which nothing vouches for: whoever minds sets ``tls = "verify-full"``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

from proxy.errors import (
    ConnectFailed,
    ProtocolError,
    ServerProtocolError,
    ServerRefused,
)
from proxy.mysql import auth, parsec
from proxy.mysql import handshake as wire
from proxy.mysql.capabilities import TargetProfile, asked
from proxy.mysql.constants import (
    AUTH_MORE_DATA,
    CLIENT_PLUGIN_AUTH,
    CLIENT_PROTOCOL_41,
    CLIENT_SSL,
    EOF,
    ERR,
    HEADER_BYTES,
    OK,
)
from proxy.mysql.lenenc import packet
from proxy.mysql.messages import err_payload, read_err, read_ok
from proxy.mysql.rsa import encrypt
from proxy.mysql.signing_keys import kept_keys
from proxy.wire.steps import Conversation, Read, Send, StartTls, TlsFacts

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

LOGIN_LIMIT_BYTES: Final = 1 << 20
"""Longest packet taken from a server that we log in to."""
MAX_PACKET_BYTES: Final = 1 << 24
"""What we say that we take, which servers do not mind."""
ATTRIBUTES: Final = wire.attributes_payload(
    {"_client_name": "tidegate", "program_name": "tidegate"}
)
_MORE_FACTORS: Final = 0x02
_ROUNDS: Final = 10
_STATES: Final = {1040: "08004", 1129: "HY000", 1130: "HY000"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSecret:
    """What proves us to a server."""

    password: bytes = field(repr=False)
    """Empty for an account without one."""
    derived: dict[str, Any] = field(default_factory=dict, repr=False)
    """Lives as long as the credential: keeps the keys derived from the password."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLogin:
    """A server connection that is ready for its first command."""

    thread_id: int
    capabilities: int
    """In force."""
    profile: TargetProfile
    tls: TlsFacts | None


def login(
    *,
    user: str,
    database: str,
    pool_capabilities: int,
    collation: int,
    tls_mode: str,
    unix_socket: bool,
    secret: ServerSecret,
    nonce: Callable[[int], bytes],
) -> Conversation[ServerLogin]:
    """Log in; ends at the OK.

    ``tls_mode`` has libpq's meanings of ``sslmode`` and is ignored on a Unix socket. Raises
    ``ServerRefused`` with the server's own error, ``ServerProtocolError``, ``ConnectFailed`` (no
    TLS, a plugin that is not supported).
    """
    greeting = yield from read_greeting()
    return (
        yield from answer_greeting(
            greeting,
            user=user,
            database=database,
            pool_capabilities=pool_capabilities,
            collation=collation,
            tls_mode=tls_mode,
            unix_socket=unix_socket,
            secret=secret,
            nonce=nonce,
        )
    )


def answer_greeting(
    greeting: wire.HandshakeV10,
    *,
    user: str,
    database: str,
    pool_capabilities: int,
    collation: int,
    tls_mode: str,
    unix_socket: bool,
    secret: ServerSecret,
    nonce: Callable[[int], bytes],
) -> Conversation[ServerLogin]:
    """Log in, as ``login`` does, behind a server's greeting."""
    capabilities = asked(greeting.capabilities, pool_capabilities, database=bool(database))
    session = _Session(user, secret, nonce, unix_socket=unix_socket)
    session.sequence = 1
    if _wants_tls(greeting, tls_mode, unix_socket=unix_socket):
        capabilities |= CLIENT_SSL
        request = wire.ssl_request_payload(capabilities, MAX_PACKET_BYTES, collation)
        yield Send(packet(request, session.sequence))
        session.tls = yield StartTls()
        session.sequence += 1
    plugin = session.first_plugin(greeting)
    response = wire.HandshakeResponse41(
        capabilities=capabilities,
        max_packet_bytes=MAX_PACKET_BYTES,
        collation=collation,
        user=_encoded(user),
        auth_response=session.answer(plugin, greeting.nonce),
        database=_encoded(database),
        plugin=plugin,
        attributes=ATTRIBUTES,
    )
    yield Send(packet(wire.response_payload(response), session.sequence))
    yield from session.authenticate(plugin, greeting.nonce)
    return ServerLogin(
        thread_id=greeting.thread_id,
        capabilities=capabilities,
        profile=profile_of(greeting),
        tls=session.tls,
    )


def read_greeting() -> Conversation[wire.HandshakeV10]:
    """Read how a server greets. Raises ``ServerRefused`` if it will not have us."""
    _, payload = yield from _read_packet()
    try:
        greeting = wire.read_handshake(payload)
    except ProtocolError as error:
        raise ServerProtocolError(f"the database server is no MySQL server: {error}") from error
    wanted = CLIENT_PROTOCOL_41 | CLIENT_PLUGIN_AUTH
    if greeting.capabilities & wanted != wanted or len(greeting.nonce) != wire.NONCE_BYTES:
        raise ConnectFailed(f"MySQL {greeting.server_version} is too old: 5.7 is the first served")
    return greeting


def profile_of(greeting: wire.HandshakeV10) -> TargetProfile:
    """Give what clients are to know of a server."""
    return TargetProfile(
        greeting.server_version, greeting.capabilities, greeting.collation, greeting.plugin
    )


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _wants_tls(greeting: wire.HandshakeV10, tls_mode: str, *, unix_socket: bool) -> bool:
    """Whether to ask for TLS. Raises ``ConnectFailed`` if it must be had and is not offered."""
    if unix_socket or tls_mode == "disable":
        return False
    if greeting.capabilities & CLIENT_SSL:
        return True
    if tls_mode == "prefer":
        return False
    raise ConnectFailed(f"server does not support TLS, but tls = {tls_mode} requires it")


class _Session:
    """What is known while logging in."""

    def __init__(
        self,
        user: str,
        secret: ServerSecret,
        nonce: Callable[[int], bytes],
        *,
        unix_socket: bool,
    ) -> None:
        self.user = user
        self.password = secret.password
        self.keys = kept_keys(secret.password, secret.derived)
        self.nonce = nonce
        self.tls: TlsFacts | None = None
        self.unix_socket = unix_socket
        self.sequence = 0

    @property
    def private(self) -> bool:
        """Whether nobody else can read what we send."""
        return self.unix_socket or self.tls is not None

    def first_plugin(self, greeting: wire.HandshakeV10) -> str:
        """The plugin to begin with: the server switches to the account's if that is another."""
        if greeting.plugin in (auth.NATIVE, auth.CACHING_SHA2):
            return greeting.plugin
        return auth.NATIVE

    def answer(self, plugin: str, nonce: bytes) -> bytes:
        """Answer a plugin's challenge. Raises ``ConnectFailed`` if we cannot."""
        if plugin == auth.CACHING_SHA2:
            return auth.sha2_scramble(self.password, nonce)
        if plugin == auth.NATIVE:
            return auth.native_scramble(self.password, nonce)
        if plugin == auth.ED25519:
            return self.keys.unsalted().sign(nonce)
        if plugin == auth.PARSEC:
            return b""  # Asks for the ext-salt.
        if plugin == auth.SHA256:
            if self.private or not self.password:
                return self.password + b"\0"
            return auth.SHA256_REQUEST_PUBLIC_KEY
        if plugin == auth.CLEAR:
            if not self.private:
                raise ConnectFailed(
                    f'the database server asks for the password of user "{self.user}" in clear '
                    "(mysql_clear_password), which needs TLS"
                )
            return self.password + b"\0"
        raise ConnectFailed(
            f"database server asks for {plugin} authentication, which is not supported"
        )

    def authenticate(self, plugin: str, nonce: bytes) -> Conversation[None]:
        """Do what the server asks for until it says OK."""
        for _ in range(_ROUNDS):
            payload = yield from self._read()
            kind = payload[:1]
            if kind == bytes((OK,)):
                _check(read_ok, payload)
                return
            if kind == bytes((EOF,)):
                request = _check(wire.read_auth_switch, payload)
                plugin, nonce = request.plugin, request.data
                yield from self._send(self.answer(plugin, nonce))
            elif kind == bytes((AUTH_MORE_DATA,)):
                yield from self._more(plugin, nonce, payload[1:])
            elif kind == bytes((_MORE_FACTORS,)):
                raise ConnectFailed(
                    f'the account of user "{self.user}" has more than one factor of authentication,'
                    " which is not supported"
                )
            else:
                raise ServerProtocolError("server sent an unexpected packet during login")
        raise ServerProtocolError("server does not come to an end with the login")

    def _more(self, plugin: str, nonce: bytes, data: bytes) -> Conversation[None]:
        """Answer more data of a plugin's."""
        if plugin == auth.CACHING_SHA2 and data == auth.FAST_AUTH_SUCCESS:
            return
        if plugin == auth.PARSEC:
            signing = _check(self.keys.salted, data)
            scramble = self.nonce(parsec.SCRAMBLE_BYTES)
            yield from self._send(parsec.answer(signing, nonce, scramble))
            return
        if plugin == auth.CACHING_SHA2 and data == auth.PERFORM_FULL_AUTHENTICATION:
            if self.private:
                yield from self._send(self.password + b"\0")
                return
            yield from self._send(auth.REQUEST_PUBLIC_KEY)
            key = yield from self._read()
            if key[:1] != bytes((AUTH_MORE_DATA,)):
                raise ServerProtocolError("server did not send its RSA key")
            data = key[1:]
        elif plugin != auth.SHA256:
            raise ServerProtocolError(f"server sent unexpected data for {plugin}")
        yield from self._send(encrypt(auth.obscured(self.password, nonce), data, self.nonce))

    def _read(self) -> Conversation[bytes]:
        sequence, payload = yield from _read_packet()
        self.sequence = sequence + 1
        return payload

    def _send(self, payload: bytes) -> Conversation[None]:
        yield Send(packet(payload, self.sequence))


def _check(read: Callable[[bytes], T], payload: bytes) -> T:
    try:
        return read(payload)
    except ProtocolError as error:
        raise ServerProtocolError(f"server sent a {error} during login") from error


def _read_packet() -> Conversation[tuple[int, bytes]]:
    """Read a packet's sequence id and payload. Raises ``ServerRefused`` if it is an ERR."""
    header = yield Read(HEADER_BYTES)
    size = int.from_bytes(header[:3], "little")
    if not 0 < size <= LOGIN_LIMIT_BYTES:
        raise ServerProtocolError("server sent a packet of impossible length during login")
    payload: bytes = yield Read(size)
    if payload[0] == ERR:
        raise refusal(payload)
    return header[3], payload


def refusal(payload: bytes) -> ServerRefused:
    """Make the exception that an ERR packet stands for."""
    error = _check(read_err, payload)
    # Ahead of the handshake servers leave the SQLSTATE out, which our clients expect.
    state = error.sqlstate or _STATES.get(error.errno, "HY000")
    return ServerRefused(
        error.message.decode("utf-8", "replace"),
        response=err_payload(error.errno, state, error.message),
        code=state,
        errno=error.errno,
    )
