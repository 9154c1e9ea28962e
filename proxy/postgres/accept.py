"""We are the server: start-up, TLS and authentication of a client, up to AuthenticationOk.

    first packet ─┬─ SSLRequest ────── S, TLS ─┐ or N ─┐
                  ├─ GSSENCRequest ─── N ──────┼───────┴── first packet again (each once)
                  ├─ CancelRequest ─── end
                  └─ StartupMessage ── [NegotiateProtocolVersion] ── authentication ── end

A direct TLS handshake (PostgreSQL 17) may come before the first packet. Order and wording follow
``ProcessStartupPacket`` in PostgreSQL's ``backend_startup.c``. Names that are not UTF-8 are refused
(08P01): credentials are looked up by name, and the configuration is text.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from hmac import compare_digest
from typing import TYPE_CHECKING, Any, Final

from proxy.errors import (
    ClientAuthError,
    ClientNotAdmitted,
    ClientProtocolError,
    FeatureNotSupported,
)
from proxy.postgres import codes
from proxy.postgres import messages as wire
from proxy.postgres.auth import channel_binding, check_md5, check_password, md5_hash, read_secret
from proxy.postgres.options import parse_boolean, parse_options
from proxy.postgres.scram import (
    NONCE_BYTES,
    SALT_BYTES,
    ScramKeys,
    ScramServer,
    derive_keys,
    mock_keys,
)
from proxy.wire.steps import Conversation, Fetch, Read, Send, StartTls, TlsFacts

if TYPE_CHECKING:
    from collections.abc import Callable

ALPN: Final = ("postgresql",)
_RESERVED: Final = frozenset({"user", "database", "options", "replication"})


@dataclass(frozen=True, slots=True)
class CancelRequest:
    """A request to cancel what another connection runs; no login follows."""

    process_id: int
    secret: bytes
    """4 to 256 bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientLogin:
    """A client that has authenticated."""

    user: str
    database: str
    parameters: dict[str, str]
    """Start-up parameters but ``user``, ``database``, ``options``, ``replication``, ``_pq_.*``."""
    options: dict[str, str]
    """Settings from ``options``; ``parameters`` come after them and win."""
    minor: int
    """Minor protocol version in force: 0 or 2."""
    tls: TlsFacts | None
    client_keys: ScramKeys | None = None
    """Keys with the client key the client revealed, where it was checked against a verifier: they
    log in to a server that stores the same verifier."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSecret:
    """What a client is checked against; the answer to ``Fetch``."""

    method: str
    """``scram-sha-256``, ``md5``, ``password`` or ``trust``."""
    known: bool
    """False for an unknown user, or a credential that could not be fetched: the same motions are
    gone through and fail as for a wrong password."""
    password: bytes | None = field(default=None, repr=False)
    keys: ScramKeys | None = None
    """Of a stored verifier."""
    md5_hash: str | None = field(default=None, repr=False)
    """A stored MD5 hash."""
    allow_trust: bool = False
    """Whether ``trust`` holds for clients on other machines."""
    derived: dict[str, Any] = field(default_factory=dict, repr=False)
    """Lives as long as the credential: keeps the keys derived from the password."""


def client_secret(method: str, secret: str | None, derived: dict[str, Any]) -> ClientSecret:
    """Make a ``ClientSecret`` of a credential; ``None`` is an unknown user.

    ``trust-anywhere`` is ``trust`` that holds for clients on other machines too.
    """
    if method.startswith("trust"):
        return ClientSecret(method="trust", known=True, allow_trust=method == "trust-anywhere")
    if not secret:
        return ClientSecret(method=method, known=False)
    stored = read_secret(secret)
    return ClientSecret(
        method=method,
        known=True,
        password=stored.password,
        keys=stored.keys,
        md5_hash=stored.md5_hash,
        derived=derived,
    )


def accept(
    *,
    tls_available: bool,
    tls_required: bool,
    direct_tls: bool,
    local_peer: bool,
    nonce: Callable[[int], bytes],
) -> Conversation[ClientLogin | CancelRequest]:
    """See a client through start-up and authentication; ends after AuthenticationOk.

    ``direct_tls``: the first byte that arrived begins a TLS handshake. ``local_peer``: the client
    is on loopback or a Unix socket. ``nonce`` gives random bytes; pass the same callable throughout
    a process, as the made-up salts of unknown users hang on it. Raises ``ClientProtocolError``,
    ``ClientAuthError``, ``FeatureNotSupported``, and ``EOFError`` when the client leaves.
    """
    tls, packet = yield from _first_packet(tls_available=tls_available, direct_tls=direct_tls)
    if _code(packet) == codes.CANCEL_REQUEST:
        return _cancel(packet)
    minor = _check_version(_code(packet))
    _, sent = wire.parse_startup(packet)
    login = _read_startup(minor, sent, tls)
    unknown = [name for name in sent if name.startswith("_pq_.")]
    if unknown or minor != login.minor:
        yield Send(wire.negotiate_protocol_version(login.minor, unknown))
    if tls_required and tls is None:
        raise ClientNotAdmitted("TLS is required here: connect with sslmode=require")
    secret: ClientSecret = yield Fetch(login.user, login.database)
    keys = yield from _authenticate(login, secret, local_peer=local_peer, nonce=nonce)
    yield Send(wire.AUTHENTICATION_OK)
    return ClientLogin(
        user=login.user,
        database=login.database,
        parameters=login.parameters,
        options=login.options,
        minor=login.minor,
        tls=tls,
        client_keys=keys,
    )


# Start-up.


def _first_packet(
    *, tls_available: bool, direct_tls: bool
) -> Conversation[tuple[TlsFacts | None, bytes]]:
    """Answer requests for encryption until another packet comes."""
    tls: TlsFacts | None = None
    may_ask_tls = may_ask_gss = True
    if direct_tls and tls_available:
        tls = yield StartTls(ALPN)
        if tls is None or tls.alpn not in ALPN:
            raise ClientProtocolError(
                "received direct SSL connection request without ALPN protocol negotiation extension"
            )
    while True:
        packet = yield from _read_packet()
        code = _code(packet)
        if code == codes.SSL_REQUEST and may_ask_tls:
            _check_empty(packet)
            may_ask_tls = False
            if not tls_available or tls is not None:
                yield Send(b"N")
                continue
            yield Send(b"S")
            tls = yield StartTls(ALPN)
            may_ask_gss = False
        elif code == codes.GSSENC_REQUEST and may_ask_gss:
            _check_empty(packet)
            may_ask_gss = False
            yield Send(b"N")
        else:
            return tls, packet


def _read_packet() -> Conversation[bytes]:
    header = yield Read(4)
    length = int.from_bytes(header, "big")
    if not 8 <= length <= codes.STARTUP_LIMIT_BYTES:
        raise ClientProtocolError("invalid length of startup packet")
    packet: bytes = yield Read(length - 4)
    return packet


def _code(packet: bytes) -> int:
    return int.from_bytes(packet[:4], "big")


def _check_empty(packet: bytes) -> None:
    if len(packet) != 4:
        raise ClientProtocolError("invalid length of startup packet")


def _cancel(packet: bytes) -> CancelRequest:
    secret = packet[8:]
    if not codes.CANCEL_KEY_LEAST_BYTES <= len(secret) <= codes.CANCEL_KEY_MOST_BYTES:
        raise ClientProtocolError("invalid length of query cancel packet")
    return CancelRequest(int.from_bytes(packet[4:8], "big"), secret)


def _check_version(version: int) -> int:
    """Give the minor version asked for. Raises ``FeatureNotSupported`` for another major one."""
    major, minor = version >> 16, version & 0xFFFF
    if major != codes.PROTOCOL_MAJOR:
        raise FeatureNotSupported(
            f"unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.2"
        )
    return minor


def _read_startup(minor: int, sent: dict[str, str], tls: TlsFacts | None) -> ClientLogin:
    if parse_boolean("replication", sent.get("replication", "off"), also="database"):
        raise FeatureNotSupported("replication connections are not supported by this proxy")
    user = sent.get("user", "")
    if not user:
        raise ClientNotAdmitted("no PostgreSQL user name specified in startup packet")
    return ClientLogin(
        user=user,
        database=sent.get("database", "") or user,
        parameters={
            name: value
            for name, value in sent.items()
            if name not in _RESERVED and not name.startswith("_pq_.")
        },
        options=parse_options(sent.get("options", "")),
        minor=0 if minor < codes.NEWEST_MINOR else codes.NEWEST_MINOR,
        tls=tls,
    )


# Authentication.


def _authenticate(
    login: ClientLogin, secret: ClientSecret, *, local_peer: bool, nonce: Callable[[int], bytes]
) -> Conversation[ScramKeys | None]:
    """Check the client by the method its entry names; give what that revealed."""
    if secret.method == "trust":
        if local_peer or secret.allow_trust:
            return None
        raise ClientNotAdmitted(
            f'user "{login.user}" may connect without a password from this machine only'
        )
    if secret.method == "password":
        if login.tls is None and not local_peer:
            raise ClientNotAdmitted(
                f'user "{login.user}" sends its password in clear: TLS is required, '
                "connect with sslmode=require"
            )
        return (yield from _clear_password(login.user, secret, nonce))
    # A verifier cannot answer MD5; PostgreSQL uses SCRAM then, too.
    if secret.method == "md5" and secret.keys is None:
        yield from _md5(login.user, secret, nonce)
        return None
    return (yield from _scram(login, secret, nonce))


def _md5(user: str, secret: ClientSecret, nonce: Callable[[int], bytes]) -> Conversation[None]:
    salt = nonce(4)
    yield Send(wire.authentication_md5_password(salt))
    response = yield from _read_password("password")
    stored = secret.md5_hash or md5_hash(secret.password or nonce(16), user)
    if not (check_md5(stored, salt, _unterminated(response)) and secret.known):
        raise _wrong_password(user)


def _clear_password(
    user: str, secret: ClientSecret, nonce: Callable[[int], bytes]
) -> Conversation[ScramKeys | None]:
    yield Send(wire.AUTHENTICATION_CLEARTEXT_PASSWORD)
    password = _unterminated((yield from _read_password("password")))
    if secret.md5_hash is not None:
        if not compare_digest(md5_hash(password, user), secret.md5_hash):
            raise _wrong_password(user)
        return None
    keys = check_password(_scram_keys(user, secret, nonce), password)
    if keys is None or not secret.known:
        raise _wrong_password(user)
    return keys if secret.keys is not None else None


def _scram(
    login: ClientLogin, secret: ClientSecret, nonce: Callable[[int], bytes]
) -> Conversation[ScramKeys | None]:
    binding = channel_binding(login.tls.own_certificate) if login.tls is not None else None
    keys = _scram_keys(login.user, secret, nonce)
    server = ScramServer(keys, nonce(NONCE_BYTES), binding, user=login.user, known=secret.known)
    yield Send(wire.authentication_sasl(server.mechanisms))
    message = yield from _read_password("SASL")
    mechanism, first = wire.parse_sasl_initial_response(message)
    if first is None:
        yield Send(wire.authentication_sasl_continue(b""))
        first = yield from _read_password("SASL")
    yield Send(wire.authentication_sasl_continue(server.first(mechanism, first)))
    response = yield from _read_password("SASL")
    signature, revealed = server.final(response)
    yield Send(wire.authentication_sasl_final(signature))
    return revealed if secret.keys is not None else None


@lru_cache(maxsize=8)
def _process_secret(nonce: Callable[[int], bytes]) -> bytes:
    """Draw the secret behind the salts of users who do not exist, once in a process."""
    return nonce(32)


def _scram_keys(user: str, secret: ClientSecret, nonce: Callable[[int], bytes]) -> ScramKeys:
    """Give the keys to check against: stored, derived once for each credential, or made up."""
    if secret.keys is not None:
        return secret.keys
    if secret.password is None:
        return mock_keys(_process_secret(nonce), user)
    keys: ScramKeys | None = secret.derived.get("client_keys")
    if keys is None:
        keys = derive_keys(secret.password, nonce(SALT_BYTES))
        secret.derived["client_keys"] = keys
    return keys


def _read_password(kind: str) -> Conversation[bytes]:
    """Read a PasswordMessage, SASLInitialResponse or SASLResponse."""
    header = yield Read(5)
    if header[0] != codes.PASSWORD_MESSAGE:
        raise ClientProtocolError(f"expected {kind} response, got message type {header[0]}")
    length = int.from_bytes(header[1:], "big")
    if not 4 <= length <= codes.PASSWORD_LIMIT_BYTES:
        raise ClientProtocolError("invalid message length")
    payload: bytes = yield Read(length - 4)
    return payload


def _unterminated(payload: bytes) -> bytes:
    """Take the null byte off a password. Raises ``ClientProtocolError`` if it is not the last."""
    if not payload or payload.find(b"\0") != len(payload) - 1:
        raise ClientProtocolError("invalid password packet size")
    return payload[:-1]


def _wrong_password(user: str) -> ClientAuthError:
    return ClientAuthError(f'password authentication failed for user "{user}"')
