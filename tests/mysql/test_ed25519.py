"""Signatures: those of a library where the password has the length that a library takes."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.mysql.ed25519 import SIGNATURE_BYTES, SigningKey


@settings(max_examples=20)
@given(st.binary(min_size=32, max_size=32), st.binary(max_size=64))
def test_keys_and_signatures_are_those_that_a_library_makes(secret: bytes, message: bytes) -> None:
    key, library = SigningKey(secret), Ed25519PrivateKey.from_private_bytes(secret)
    assert key.public == library.public_key().public_bytes_raw()
    assert key.sign(message) == library.sign(message)


@settings(max_examples=20)
@given(st.binary(max_size=40), st.binary(max_size=40), st.data())
def test_a_signature_is_that_of_one_password_and_message(
    password: bytes, message: bytes, data: st.DataObject
) -> None:
    key = SigningKey(password)
    signature = key.sign(message)
    assert key.has_signed(message, signature)
    assert not SigningKey(password + b"!").has_signed(message, signature)
    assert not key.has_signed(message + b"!", signature)
    bit = data.draw(st.integers(0, 8 * SIGNATURE_BYTES - 1))
    changed = int.from_bytes(signature, "little") ^ 1 << bit
    assert not key.has_signed(message, changed.to_bytes(SIGNATURE_BYTES, "little"))


def test_what_has_another_length_is_no_signature() -> None:
    key = SigningKey(b"secret")
    signature = key.sign(b"nonce")
    assert not key.has_signed(b"nonce", signature[:-1])
    assert not key.has_signed(b"nonce", signature + b"\0")
    assert not key.has_signed(b"nonce", b"")
