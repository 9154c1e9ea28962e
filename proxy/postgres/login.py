"""We are the client: TLS, start-up and authentication towards a server, up to ReadyForQuery.

Like libpq, a password is sent in clear where the server asks for that, TLS or not; whoever minds
sets ``tls = "verify-full"`` or has the server ask for SCRAM.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from proxy.errors import ConnectFailed, CredentialError, ServerProtocolError, ServerRefused
from proxy.postgres import codes
from proxy.postgres import messages as wire
from proxy.postgres.auth import channel_binding, md5_hash, md5_response, read_secret
from proxy.postgres.constants import (
    ERROR_RESPONSE,
    NOTICE_RESPONSE,
    PARAMETER_STATUS,
    READY_FOR_QUERY,
)
from proxy.postgres.scram import NONCE_BYTES, SaltedPasswords, ScramClient, ScramKeys
from proxy.wire.steps import Conversation, Read, Send, StartTls, TlsFacts

if TYPE_CHECKING:
    from collections.abc import Callable

ALPN: Final = ("postgresql",)
_KINDS: Final = {2: "Kerberos V5", 6: "SCM credential", 7: "GSSAPI", 9: "SSPI"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSecret:
    """What proves us to a server; all empty for a server that asks for nothing."""

    password: bytes | None = field(default=None, repr=False)
    md5_hash: str | None = field(default=None, repr=False)
    keys: ScramKeys | None = None
    """Keys with the client key, as a client revealed them to us."""
    salted: SaltedPasswords = field(default_factory=SaltedPasswords, repr=False)
    """Keys derived from ``password``; lives as long as the credential."""


def server_secret(
    secret: str, derived: dict[str, Any], recovered: ScramKeys | None
) -> ServerSecret:
    """Make a ``ServerSecret`` of a credential, and of what clients revealed (``client_keys``).

    ``derived`` lives as long as the credential.
    """
    stored = read_secret(secret)
    salted: SaltedPasswords = derived.setdefault("server_keys", SaltedPasswords())
    return ServerSecret(
        password=stored.password, md5_hash=stored.md5_hash, keys=recovered, salted=salted
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLogin:
    """A server connection that is ready for its first query."""

    parameters: dict[str, str]
    """What the server reported (ParameterStatus)."""
    process_id: int
    secret: bytes
    """Cancel key, 4 to 256 bytes; empty if the server gave none."""
    tls: TlsFacts | None
    minor: int
    """Minor protocol version in force."""


def login(
    *,
    user: str,
    database: str,
    parameters: dict[str, str],
    tls_mode: str,
    unix_socket: bool,
    secret: ServerSecret,
    nonce: Callable[[int], bytes],
    minor: int = codes.NEWEST_MINOR,
) -> Conversation[ServerLogin]:
    """Log in; ends at the first ReadyForQuery.

    ``tls_mode`` is libpq's ``sslmode``, ignored on a Unix socket as libpq does; checking
    certificates is the business of the TLS context. Raises ``ServerRefused`` with the server's own
    error, ``ServerProtocolError``, ``ConnectFailed`` (no TLS, unknown authentication) and
    ``CredentialError`` (the credential cannot answer what the server asks).
    """
    tls = None if unix_socket else (yield from start_tls(tls_mode))
    yield Send(wire.startup(minor, {"user": user, "database": database, **parameters}))
    session = _Session(user, secret, tls, nonce, minor)
    yield from session.authenticate()
    return (yield from session.wait_until_ready())


def cancel(request: bytes, *, tls: bool) -> Conversation[None]:
    """Deliver a cancel request; ends when the server closes, which says that it has taken it."""
    if tls:
        yield from start_tls("prefer")
    yield Send(request)
    try:
        while True:
            yield Read(1)
    except EOFError:
        return


def start_tls(tls_mode: str) -> Conversation[TlsFacts | None]:
    """Ask a server for TLS as ``tls_mode`` says. Raises ``ConnectFailed`` if it must and will not.

    An error instead of an answer is not shown to anyone: nobody knows yet who sent it
    (CVE-2024-10977).
    """
    if tls_mode == "disable":
        return None
    yield Send(wire.TLS_REQUEST_PACKET)
    answer = yield Read(1)
    if answer == b"S":
        facts: TlsFacts = yield StartTls(ALPN)
        return facts
    if answer == b"N":
        if tls_mode == "prefer":
            return None
        raise ConnectFailed(f"server does not support TLS, but tls = {tls_mode} requires it")
    raise ServerProtocolError("server sent an unexpected answer to the request for TLS")


class _Session:
    """What is known while logging in."""

    def __init__(
        self,
        user: str,
        secret: ServerSecret,
        tls: TlsFacts | None,
        nonce: Callable[[int], bytes],
        minor: int,
    ) -> None:
        self.user = user
        self.secret = secret
        self.tls = tls
        self.nonce = nonce
        self.minor = minor

    def authenticate(self) -> Conversation[None]:
        """Do what the server asks for until it says AuthenticationOk."""
        kind, data = yield from self._authentication()
        if kind == codes.AUTH_CLEARTEXT_PASSWORD:
            yield Send(wire.password_message(self._password("a password")))
        elif kind == codes.AUTH_MD5_PASSWORD:
            if len(data) != 4:
                raise ServerProtocolError("server sent a malformed MD5 salt")
            stored = self.secret.md5_hash or md5_hash(self._password("an MD5 password"), self.user)
            yield Send(wire.password_message(md5_response(stored, data)))
        elif kind == codes.AUTH_SASL:
            yield from self._scram(data)
        elif kind == codes.AUTH_OK:
            return
        else:
            raise _unsupported(kind)
        kind, _ = yield from self._authentication()
        if kind != codes.AUTH_OK:
            raise ServerProtocolError("server asked for a second authentication")

    def _scram(self, data: bytes) -> Conversation[None]:
        binding = channel_binding(self.tls.peer_certificate) if self.tls is not None else None
        client = ScramClient(wire.parse_sasl_mechanisms(data), self.nonce(NONCE_BYTES), binding)
        yield Send(wire.sasl_initial_response(client.mechanism, client.first()))
        message = yield from self._sasl(codes.AUTH_SASL_CONTINUE)
        salt, iterations = client.challenge(message)
        yield Send(wire.sasl_response(client.final(self._keys(salt, iterations))))
        client.verify((yield from self._sasl(codes.AUTH_SASL_FINAL)))

    def _sasl(self, expected: int) -> Conversation[bytes]:
        kind, data = yield from self._authentication()
        if kind != expected:
            raise ServerProtocolError("server broke off the SCRAM exchange")
        return data

    def _keys(self, salt: bytes, iterations: int) -> ScramKeys:
        keys = self.secret.keys
        if keys is not None and keys.fits(salt, iterations):
            return keys
        if self.secret.password is not None:
            return self.secret.salted.keys(self.secret.password, salt, iterations)
        if keys is not None:
            raise CredentialError(
                f'the SCRAM verifier of user "{self.user}" is not the one the database server '
                "stores: copy it from there, or configure the password"
            )
        raise CredentialError(
            f'the database server asks for SCRAM, and the credential of user "{self.user}" holds '
            "no password; a verifier serves once a client has logged in with it"
        )

    def _password(self, what: str) -> bytes:
        if self.secret.password is None:
            raise CredentialError(
                f'the database server asks for {what}, and the credential of user "{self.user}" '
                "holds none"
            )
        return self.secret.password

    def _authentication(self) -> Conversation[tuple[int, bytes]]:
        """Read the next Authentication message; what else may come is dealt with."""
        while True:
            code, payload = yield from _read_message()
            if code == codes.AUTHENTICATION:
                if len(payload) < 4:
                    raise ServerProtocolError("server sent a malformed Authentication message")
                return int.from_bytes(payload[:4], "big"), payload[4:]
            if code == codes.NEGOTIATE_PROTOCOL_VERSION:
                self.minor = min(self.minor, wire.parse_negotiate_protocol_version(payload))
            elif code != NOTICE_RESPONSE:
                raise _unexpected(code)

    def wait_until_ready(self) -> Conversation[ServerLogin]:
        """Read what the server says of itself, up to ReadyForQuery."""
        parameters: dict[str, str] = {}
        process_id, secret = 0, b""
        while True:
            code, payload = yield from _read_message()
            if code == PARAMETER_STATUS:
                name, value = wire.parse_parameter_status(payload)
                parameters[name] = value
            elif code == codes.BACKEND_KEY_DATA:
                process_id, secret = int.from_bytes(payload[:4], "big"), payload[4:]
                if not codes.CANCEL_KEY_LEAST_BYTES <= len(secret) <= codes.CANCEL_KEY_MOST_BYTES:
                    raise ServerProtocolError("server sent a cancel key of unusable length")
            elif code == READY_FOR_QUERY:
                return ServerLogin(
                    parameters=parameters,
                    process_id=process_id,
                    secret=secret,
                    tls=self.tls,
                    minor=self.minor,
                )
            elif code != NOTICE_RESPONSE:
                raise _unexpected(code)


def _read_message() -> Conversation[tuple[int, bytes]]:
    """Read one message. Raises ``ServerRefused`` if it is an ErrorResponse."""
    header = yield Read(5)
    length = int.from_bytes(header[1:], "big")
    if not 4 <= length <= codes.LOGIN_LIMIT_BYTES:
        raise ServerProtocolError("server sent a message of impossible length during login")
    payload = yield Read(length - 4)
    if header[0] == ERROR_RESPONSE:
        fields = wire.parse_error_fields(payload)
        raise ServerRefused(
            fields.get("M", "database server refused the login"),
            response=header + payload,
            code=fields.get("C", "XX000"),
        )
    return header[0], payload


def _unexpected(code: int) -> ServerProtocolError:
    return ServerProtocolError(f"server sent an unexpected message during login: type {code}")


def _unsupported(kind: int) -> ConnectFailed:
    name = _KINDS.get(kind, f"method {kind}")
    return ConnectFailed(f"database server asks for {name} authentication, which is not supported")
