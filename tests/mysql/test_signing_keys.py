"""Keys are made once for each credential."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.errors import ProtocolError
from proxy.mysql.parsec import ext_salt
from proxy.mysql.signing_keys import NobodysKeys, SigningKeys, kept_keys

SALTS = [ext_salt(bytes((n,)) * 18) for n in range(4)]


def test_a_key_is_made_once() -> None:
    keys = SigningKeys(b"secret")
    assert keys.unsalted() is keys.unsalted()
    assert keys.salted(SALTS[0]) is keys.salted(SALTS[0])
    publics = {keys.unsalted().public, *(keys.salted(salt).public for salt in SALTS)}
    assert len(publics) == 5


def test_the_least_recently_used_are_forgotten() -> None:
    keys = SigningKeys(b"secret", limit=2)
    first, second = keys.salted(SALTS[0]), keys.salted(SALTS[1])
    assert keys.salted(SALTS[0]) is first
    keys.salted(SALTS[2])
    assert keys.salted(SALTS[0]) is first
    assert keys.salted(SALTS[1]) is not second
    assert keys.salted(SALTS[1]).public == second.public


def test_an_ext_salt_that_is_none_has_no_key() -> None:
    keys = SigningKeys(b"secret")
    keys.unsalted()
    with pytest.raises(ProtocolError):
        keys.salted(b"")


def test_keys_live_as_long_as_the_credential() -> None:
    derived: dict[str, Any] = {}
    assert kept_keys(b"secret", derived) is kept_keys(b"secret", derived)
    assert kept_keys(b"secret", derived) is not kept_keys(b"secret", {})


def test_nobody_has_one_key_whatever_the_salt() -> None:
    keys = NobodysKeys(b"secret")
    assert keys.salted(SALTS[0]) is keys.salted(SALTS[1]) is keys.unsalted()
