"""The RSA key that clients without TLS encrypt their password with.

It needs the package ``cryptography``. Without that there is no key, as on a server without key
files. Every process makes its own, which lasts as long as the process does.
"""

from __future__ import annotations

import importlib
import threading
from typing import Any, Final

KEY_BITS: Final = 2048
_EXPONENT: Final = 65537
_PACKAGE: Final = "cryptography.hazmat.primitives"


class KeyPair:
    """An RSA key that is made when it is first needed, which takes up to half a second.

    Threads may ask for it at the same time, and should: the event loop has no half a second.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made = False
        self._private: Any = None
        self._padding: Any = None
        self._public = b""

    def public_key(self) -> bytes:
        """Give the public key in PEM, empty if there is none."""
        with self._lock:
            if not self._made:
                self._made = True
                self._make()
        return self._public

    def decrypt(self, data: bytes) -> bytes:
        """Decrypt what was encrypted with the public key; gives nothing if it was not."""
        if not self.public_key():
            return b""
        try:
            plain: bytes = self._private.decrypt(data, self._padding)
        except ValueError:
            return b""
        return plain

    def _make(self) -> None:
        try:
            rsa: Any = importlib.import_module(f"{_PACKAGE}.asymmetric.rsa")
            padding: Any = importlib.import_module(f"{_PACKAGE}.asymmetric.padding")
            hashes: Any = importlib.import_module(f"{_PACKAGE}.hashes")
            form: Any = importlib.import_module(f"{_PACKAGE}.serialization")
        except ImportError:
            return
        self._private = rsa.generate_private_key(_EXPONENT, KEY_BITS)
        # What MySQL takes; RFC 8017 allows SHA-1 here.
        sha1 = hashes.SHA1()
        self._padding = padding.OAEP(padding.MGF1(sha1), sha1, None)
        self._public = self._private.public_key().public_bytes(
            form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo
        )
