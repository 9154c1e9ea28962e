"""We are the server: greeting, TLS and authentication of a client, up to its final OK.

    HandshakeV10 ── [SSLRequest, TLS] ── HandshakeResponse41 ── [AuthSwitchRequest, answer] ──
    ── [AuthMoreData: fast authentication, or the password itself; an ext-salt] ── end

The OK itself is left to the session, which sends it once a server has taken this user to this
database. Wording and codes follow MySQL's ``sql_authentication.cc``. Names must be UTF-8:
credentials are looked up by name.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Final

from proxy.errors import (
    BadHandshake,
    ClientAuthError,
    ClientNotAdmitted,
    OldAuthentication,
    ProtocolError,
    TlsRequired,
)
from proxy.mysql import auth, parsec
from proxy.mysql import handshake as wire
from proxy.mysql.capabilities import ClientFacts, TargetProfile, offered
from proxy.mysql.constants import (
    CLIENT_COMPRESS,
    CLIENT_PLUGIN_AUTH,
    CLIENT_PROTOCOL_41,
    CLIENT_SSL,
    HEADER_BYTES,
    SERVER_STATUS_AUTOCOMMIT,
)
from proxy.mysql.lenenc import packet
from proxy.mysql.signing_keys import NobodysKeys, kept_keys
from proxy.wire.steps import (
    Conversation,
    Fetch,
    FetchTarget,
    InThread,
    Read,
    Send,
    StartTls,
    TlsFacts,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.mysql.key_pair import KeyPair
    from proxy.wire.dialect import Arrival

LOGIN_LIMIT_BYTES: Final = 1 << 17
"""Longest packet taken from a client that logs in: attributes have at most 64 KiB."""
_PLUGINS: Final = {
    "caching_sha2_password": auth.CACHING_SHA2,
    "client_ed25519": auth.ED25519,
    "mysql_native_password": auth.NATIVE,
    "parsec": auth.PARSEC,
    "sha256_password": auth.SHA256,
    "password": auth.CLEAR,
}
"""Plugins by the method of an auth entry; another method, or none, is the target's plugin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSecret:
    """What a client is checked against; the answer to ``Fetch``."""

    method: str
    """``caching_sha2_password``, ``client_ed25519``, ``mysql_native_password``, ``parsec``,
    ``password``, ``sha256_password``, ``trust``, or empty for the plugin that the target begins
    with."""
    known: bool
    """False for an unknown user, or a credential that could not be fetched: the same motions are
    gone through and fail as for a wrong password."""
    password: bytes = field(default=b"", repr=False)
    allow_trust: bool = False
    """Whether ``trust`` holds for clients on other machines."""
    derived: dict[str, Any] = field(default_factory=dict, repr=False)
    """Lives as long as the credential: keeps the keys derived from the password."""


def client_secret(method: str, secret: str | None, derived: dict[str, Any]) -> ClientSecret:
    """Make a ``ClientSecret`` of a credential; ``None`` is an unknown user.

    ``derived`` lives as long as the credential.
    ``trust-anywhere`` is ``trust`` that holds for clients on other machines too.
    """
    if method.startswith("trust"):
        return ClientSecret(method="trust", known=True, allow_trust=method == "trust-anywhere")
    password = (secret or "").encode("utf-8", "surrogateescape")
    return ClientSecret(method=method, known=bool(password), password=password, derived=derived)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientLogin:
    """A client that has authenticated."""

    user: str
    database: str
    """Empty for none."""
    facts: ClientFacts


def accept(
    arrival: Arrival, nonce: Callable[[int], bytes], keys: KeyPair
) -> Conversation[ClientLogin]:
    """See a client through greeting and authentication; ends ahead of the final OK.

    ``nonce`` gives random bytes; ``keys`` are for passwords that come encrypted. Keeps
    ``arrival.sequence``. Raises ``ClientProtocolError``, ``ClientAuthError``, what fetching raises,
    and ``EOFError`` when the client leaves.
    """
    profile: TargetProfile = yield FetchTarget()
    offer = offered(profile, tls=arrival.tls_available)
    asking = Asking(arrival, nonce, keys, _first_plugin(profile))
    yield from asking.send(_greeting(profile, offer, arrival.number, asking))
    tls, response = yield from _response(asking, offer)
    if arrival.tls_required and tls is None:
        raise TlsRequired(
            "Connections using insecure transport are prohibited while require_tls = true"
        )
    asking.encrypted = tls is not None
    asking.switches = bool(response.capabilities & CLIENT_PLUGIN_AUTH)
    user, database = _name(response.user), _name(response.database)
    plugin = response.plugin if asking.switches else auth.NATIVE
    yield from asking.authenticate(user, database, plugin, response.auth_response)
    return ClientLogin(
        user=user,
        database=database,
        facts=ClientFacts(
            capabilities=response.capabilities & offer,
            sequence=arrival.sequence,
            collation=response.collation,
            tls=tls,
        ),
    )


def _first_plugin(profile: TargetProfile) -> str:
    """The plugin to begin with, for those who do not say which they want."""
    return auth.NATIVE if profile.plugin == auth.NATIVE else auth.CACHING_SHA2


def _greeting(profile: TargetProfile, offer: int, number: int, asking: Asking) -> bytes:
    return wire.handshake_payload(
        wire.HandshakeV10(
            server_version=profile.server_version,
            thread_id=number,
            nonce=asking.nonce,
            capabilities=offer,
            collation=profile.collation,
            status=SERVER_STATUS_AUTOCOMMIT,
            plugin=asking.first_plugin,
        )
    )


def _response(
    asking: Asking, offer: int
) -> Conversation[tuple[TlsFacts | None, wire.HandshakeResponse41]]:
    """Read a client's response, behind TLS if it asks for that."""
    payload = yield from asking.read()
    tls: TlsFacts | None = None
    try:
        if wire.read_capabilities(payload) & CLIENT_SSL and wire.is_ssl_request(payload):
            if not offer & CLIENT_SSL:
                raise BadHandshake("Bad handshake: TLS is not offered here")
            # Clients go on at once: no answer to their request is due.
            tls = yield StartTls(begun=True)
            payload = yield from asking.read()
        response = wire.read_response(payload)
    except BadHandshake:
        raise
    except ProtocolError as error:
        raise BadHandshake(f"Bad handshake: {error}") from error
    if not response.capabilities & CLIENT_PROTOCOL_41:
        raise BadHandshake("Bad handshake: the client does not speak the protocol of MySQL 4.1")
    if response.capabilities & CLIENT_COMPRESS:
        # One that asks without having been offered it may compress from here on.
        raise BadHandshake("Bad handshake: compression is not offered here")
    return tls, response


def _name(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise BadHandshake("Bad handshake: a name is not UTF-8") from None


@lru_cache(maxsize=8)
def _process_secret(nonce: Callable[[int], bytes]) -> bytes:
    """Draw the secret behind the salts of users, once in a process."""
    return nonce(32)


@lru_cache(maxsize=8)
def _nobodys_keys(nonce: Callable[[int], bytes]) -> NobodysKeys:
    """Make the keys that unknown users are checked against, once in a process."""
    return NobodysKeys(nonce(32))


class Asking:
    """Authenticates one client, at login or when it changes the user."""

    def __init__(
        self,
        arrival: Arrival,
        nonce: Callable[[int], bytes],
        keys: KeyPair,
        first_plugin: str,
    ) -> None:
        self.arrival = arrival
        self._keys = keys
        self.first_plugin = first_plugin
        self._random = nonce
        self.nonce = self._new_nonce()
        self.encrypted = False
        """Whether the client came by TLS."""
        self.switches = True
        """Whether the client can be asked to use another plugin."""

    @property
    def private(self) -> bool:
        """Whether nobody else can read what the client sends."""
        return self.encrypted or self.arrival.local

    def _new_nonce(self, size: int = wire.NONCE_BYTES) -> bytes:
        return auth.printable_nonce(self._random(size))

    def read(self) -> Conversation[bytes]:
        """Read a packet. Raises ``BadHandshake`` if it is not the next one, or too long."""
        arrival = self.arrival
        header = yield Read(HEADER_BYTES)
        size = int.from_bytes(header[:3], "little")
        expected, arrival.sequence = arrival.sequence, (header[3] + 1) & 0xFF
        if header[3] != expected:
            raise BadHandshake("Got packets out of order")
        if size > LOGIN_LIMIT_BYTES:
            raise BadHandshake("Bad handshake: packet too long")
        payload: bytes = (yield Read(size)) if size else b""
        return payload

    def send(self, payload: bytes) -> Conversation[None]:
        """Send a packet."""
        yield Send(packet(payload, self.arrival.sequence))
        self.arrival.sequence = (self.arrival.sequence + 1) & 0xFF

    def authenticate(
        self, user: str, database: str, plugin: str, response: bytes
    ) -> Conversation[None]:
        """Check what a client has answered to ``nonce`` with a plugin, or ask it again.

        Raises ``ClientAuthError``, which does not tell an unknown user from a wrong password.
        """
        secret: ClientSecret = yield Fetch(user, database)
        if secret.method == "trust":
            if self.arrival.local or secret.allow_trust:
                return
            raise ClientNotAdmitted(
                f"user '{user}' may connect without a password from this machine only"
            )
        wanted = _PLUGINS.get(secret.method, self.first_plugin)
        if wanted == auth.CLEAR and not self.private:
            raise TlsRequired(f"user '{user}' sends its password in clear: TLS is required")
        if plugin != wanted or wanted in auth.SIGNING:  # These sign a longer nonce.
            if not self.switches:
                raise OldAuthentication(
                    "Client does not support authentication protocol requested by server; "
                    "consider upgrading MySQL client"
                )
            response = yield from self._switch(wanted)
        if wanted in auth.SIGNING:
            right = yield from self._has_signed(wanted, user, secret, response)
        else:
            # For an unknown user, a password that nobody knows.
            password = secret.password if secret.known else self._random(wire.NONCE_BYTES)
            right = yield from self._proves(wanted, password, response)
        if not (right and secret.known):
            used = "YES" if response.strip(b"\0") else "NO"
            raise ClientAuthError(
                f"Access denied for user '{user}'@'{self.arrival.host}' (using password: {used})"
            )

    def _proves(self, plugin: str, password: bytes, response: bytes) -> Conversation[bool]:
        """Whether a client's response, or what it is asked for then, is that of a password."""
        if plugin == auth.SHA256:
            request = auth.SHA256_REQUEST_PUBLIC_KEY
            return (yield from self._has_password(password, response, request))
        if auth.check(plugin, password, self.nonce, response):
            if plugin == auth.CACHING_SHA2:
                yield from self.send(wire.auth_more_data_payload(auth.FAST_AUTH_SUCCESS))
            return True
        if plugin != auth.CACHING_SHA2 or len(response) != auth.SHA2_SCRAMBLE_BYTES:
            return False
        # A server asks for the password itself when it has not cached it, and when the scramble is
        # wrong: some clients scramble with a wrong nonce, and rely on that.
        yield from self.send(wire.auth_more_data_payload(auth.PERFORM_FULL_AUTHENTICATION))
        answer = yield from self.read()
        return (yield from self._has_password(password, answer, auth.REQUEST_PUBLIC_KEY))

    def _has_signed(
        self, plugin: str, user: str, secret: ClientSecret, response: bytes
    ) -> Conversation[bool]:
        """Whether a client signs as only who knows a password can."""
        if secret.known:
            keys = kept_keys(secret.password, secret.derived)
        else:
            keys = _nobodys_keys(self._random)
        if plugin == auth.ED25519:
            return keys.unsalted().has_signed(self.nonce, response)
        if response:
            return False
        # It does not tell whether there is such a user: everybody's is always the same.
        name = user.encode("utf-8", "surrogateescape")
        salt = hmac.digest(_process_secret(self._random), name, "sha256")[: parsec.SALT_BYTES]
        ext_salt = parsec.ext_salt(salt)
        yield from self.send(wire.auth_more_data_payload(ext_salt))
        answer = yield from self.read()
        return parsec.is_answer(keys.salted(ext_salt), self.nonce, answer)

    def _has_password(self, password: bytes, answer: bytes, request: bytes) -> Conversation[bool]:
        """Whether a client that was asked for the password itself sends this one.

        ``answer`` is the password in clear, the password encrypted, or ``request`` for the key.
        """
        if self.private and answer.endswith(b"\0"):
            return auth.check(auth.CLEAR, password, self.nonce, answer)
        if answer == request:
            key = yield InThread(self._keys.public_key)
            if not key:
                return False
            yield from self.send(wire.auth_more_data_payload(key))
            answer = yield from self.read()
        plain = yield InThread(partial(self._keys.decrypt, answer))
        return auth.check(auth.SHA256, password, self.nonce, plain)

    def _switch(self, plugin: str) -> Conversation[bytes]:
        """Have a client answer with another plugin."""
        self.nonce = self._new_nonce(auth.nonce_bytes(plugin))
        request = wire.AuthSwitchRequest(plugin, self.nonce)
        yield from self.send(wire.auth_switch_payload(request))
        return (yield from self.read())


def change_user(
    arrival: Arrival,
    facts: ClientFacts,
    payload: bytes,
    nonce: Callable[[int], bytes],
    keys: KeyPair,
) -> Conversation[ClientLogin]:
    """See a client through COM_CHANGE_USER (``payload``); ends ahead of the final OK.

    ``arrival.sequence`` is that of the next packet to the client. Whatever it answered, it is asked
    again, with a new nonce: which one it took to answer is not certain.
    """
    profile: TargetProfile = yield FetchTarget()
    asking = Asking(arrival, nonce, keys, _first_plugin(profile))
    asking.encrypted = facts.tls is not None
    asking.switches = bool(facts.capabilities & CLIENT_PLUGIN_AUTH)
    try:
        message = wire.read_change_user(payload, facts.capabilities)
    except ProtocolError as error:
        raise BadHandshake(f"Bad handshake: {error}") from error
    user, database = _name(message.user), _name(message.database)
    yield from asking.authenticate(user, database, "", b"")
    return ClientLogin(
        user=user,
        database=database,
        facts=ClientFacts(
            capabilities=facts.capabilities,
            sequence=arrival.sequence,
            collation=message.collation or facts.collation,
            tls=facts.tls,
        ),
    )
