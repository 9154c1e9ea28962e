"""The key that passwords are encrypted with, and what becomes of it without the package."""

from __future__ import annotations

import importlib
import secrets
from typing import TYPE_CHECKING

from proxy.mysql.key_pair import KEY_BITS, KeyPair
from proxy.mysql.rsa import encrypt, read_public_key

if TYPE_CHECKING:
    import pytest


def test_what_is_encrypted_with_the_public_key_is_decrypted() -> None:
    keys = KeyPair()
    public = keys.public_key()
    assert read_public_key(public)[0].bit_length() == KEY_BITS
    assert keys.public_key() == public, "the key is made once"
    assert keys.decrypt(encrypt(b"secret", public, secrets.token_bytes)) == b"secret"
    assert KeyPair().public_key() != public


def test_anything_else_is_nothing() -> None:
    keys = KeyPair()
    for data in (b"", b"x", bytes(KEY_BITS // 8), secrets.token_bytes(KEY_BITS // 8)):
        assert keys.decrypt(data) == b""


def test_without_the_package_there_is_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    keys = KeyPair()
    assert keys.public_key() == b""
    assert keys.decrypt(bytes(KEY_BITS // 8)) == b""
