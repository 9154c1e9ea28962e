"""Signing keys made of one credential's password, once and not for every login."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final

from proxy.mysql.ed25519 import SigningKey
from proxy.mysql.parsec import derive

_NO_SALT: Final = b""
_SLOT: Final = "signing_keys"


class SigningKeys:
    """The keys of a password: that of ``client_ed25519``, and ``parsec``'s by ext-salt.

    A server sends an account's ext-salt until the password changes there, and so do we.
    """

    def __init__(self, password: bytes, limit: int = 16) -> None:
        self._password = password
        self._limit = limit
        self._made: OrderedDict[bytes, SigningKey] = OrderedDict()

    def unsalted(self) -> SigningKey:
        """Give the key of ``client_ed25519``."""
        return self._made.get(_NO_SALT) or self._keep(_NO_SALT, SigningKey(self._password))

    def salted(self, ext_salt: bytes) -> SigningKey:
        """Give the key of ``parsec``; the least recently used are forgotten.

        Raises ``ProtocolError`` for an ext-salt that is none.
        """
        found = self._made.get(ext_salt) if ext_salt else None
        if found is None:
            return self._keep(ext_salt, derive(self._password, ext_salt))
        self._made.move_to_end(ext_salt)
        return found

    def _keep(self, ext_salt: bytes, key: SigningKey) -> SigningKey:
        self._made[ext_salt] = key
        if len(self._made) > self._limit:
            self._made.popitem(last=False)
        return key


class NobodysKeys(SigningKeys):
    """Keys that no password leads to, found as fast as those of a user who was here before."""

    def __init__(self, secret: bytes) -> None:
        super().__init__(secret)
        self._key = SigningKey(secret)

    def unsalted(self) -> SigningKey:
        return self._key

    def salted(self, ext_salt: bytes) -> SigningKey:
        return self._key


def kept_keys(password: bytes, derived: dict[str, Any]) -> SigningKeys:
    """Give the keys of a credential, which live as long as ``derived``, its room for such."""
    keys: SigningKeys = derived.setdefault(_SLOT, SigningKeys(password))
    return keys
