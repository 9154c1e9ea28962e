"""Answers to challenges, against those that the tests' own client gives."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.mysql import auth
from tests.support import mysql_messages

NONCES = st.binary(min_size=20, max_size=20)
PASSWORDS = st.text(min_size=1, max_size=20)


@given(PASSWORDS, NONCES)
def test_scrambles_are_those_of_an_independent_client(password: str, nonce: bytes) -> None:
    for plugin, scramble in (
        (auth.NATIVE, auth.native_scramble),
        (auth.CACHING_SHA2, auth.sha2_scramble),
    ):
        theirs = mysql_messages.scramble(plugin, password, nonce)
        assert scramble(password.encode(), nonce) == theirs
        assert auth.check(plugin, password.encode(), nonce, theirs)
        assert not auth.check(plugin, password.encode() + b"x", nonce, theirs)
        assert not auth.check(plugin, password.encode(), nonce, b"")


def test_an_empty_password_is_answered_with_nothing() -> None:
    assert auth.native_scramble(b"", bytes(20)) == b""
    assert auth.sha2_scramble(b"", bytes(20)) == b""


@pytest.mark.parametrize(
    ("response", "right"), [(b"secret\0", True), (b"secret", True), (b"wrong\0", False)]
)
def test_a_password_in_clear_is_compared(response: bytes, right: bool) -> None:
    assert auth.check(auth.CLEAR, b"secret", b"", response) == right


@given(st.binary(max_size=70), NONCES)
def test_what_is_encrypted_gives_the_password_back(password: bytes, nonce: bytes) -> None:
    covered = auth.obscured(password, nonce)
    key = nonce * 4
    assert bytes(a ^ b for a, b in zip(covered, key, strict=False)) == password + b"\0"


@given(st.binary(min_size=20, max_size=20))
def test_nonces_can_be_read_as_text(random: bytes) -> None:
    nonce = auth.printable_nonce(random)
    assert len(nonce) == 20
    assert all(0 < byte < 128 and byte != ord("$") for byte in nonce)
