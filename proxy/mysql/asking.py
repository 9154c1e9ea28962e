"""We are the server: one client is asked who it is, at its login or when it changes the user.

    the answer to the greeting's plugin ── [AuthSwitchRequest, answer] ──
    ── [AuthMoreData: fast authentication, or the password itself; an ext-salt] ── end

Wording and codes follow MySQL's ``sql_authentication.cc``.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Final

from proxy.errors import (
    BadHandshake,
    ClientAuthError,
    ClientNotAdmitted,
    OldAuthentication,
    TlsRequired,
)
from proxy.mysql import auth, parsec
from proxy.mysql import handshake as wire
from proxy.mysql.certificate_proof import proof
from proxy.mysql.constants import HEADER_BYTES
from proxy.mysql.lenenc import packet
from proxy.mysql.signing_keys import NobodysKeys, kept_keys
from proxy.wire.steps import Conversation, Fetch, InThread, Read, Send

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
        known_nonce: bytes = b"",
    ) -> None:
        self.arrival = arrival
        self._keys = keys
        self.first_plugin = first_plugin
        self._random = nonce
        self._known_nonce = known_nonce
        """What the client has scrambled with before, in the same connection; empty at its login."""
        self.nonce = self._new_nonce()
        self.scramble_nonce = known_nonce or self.nonce
        """The last nonce of those that passwords are scrambled with, not the longer ones."""
        self._stored = b""
        """What a server would have stored of the password that the client has proven to know."""
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

    def proof(self, certificate: bytes) -> bytes:
        """Vouch for the certificate (DER) that the client was shown; empty if that cannot be."""
        if not (certificate and self._stored):
            return b""
        return proof(self._stored, self.scramble_nonce, hashlib.sha256(certificate).digest())

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
            if plugin == auth.NATIVE:
                self._stored = auth.native_stored(password)
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
            key = keys.unsalted()
            self._stored = key.public
            return key.has_signed(self.nonce, response)
        if response:
            return False
        # It does not tell whether there is such a user: everybody's is always the same.
        name = user.encode("utf-8", "surrogateescape")
        salt = hmac.digest(_process_secret(self._random), name, "sha256")[: parsec.SALT_BYTES]
        ext_salt = parsec.ext_salt(salt)
        yield from self.send(wire.auth_more_data_payload(ext_salt))
        answer = yield from self.read()
        key = keys.salted(ext_salt)
        self._stored = ext_salt + key.public
        return parsec.is_answer(key, self.nonce, answer)

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
        if plugin == auth.NATIVE:
            # As MariaDB does: its client library goes by the old one when it changes the user,
            # whichever it is shown.
            self.nonce = self._known_nonce or self.nonce
            self.scramble_nonce = self.nonce
        request = wire.AuthSwitchRequest(plugin, self.nonce)
        yield from self.send(wire.auth_switch_payload(request))
        return (yield from self.read())
