"""Signatures: those of a library where the password has the length that a library takes."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.mysql.ed25519 import sign


@settings(max_examples=20, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.binary(max_size=64))
def test_a_signature_is_the_one_that_a_library_makes(secret: bytes, message: bytes) -> None:
    assert sign(secret, message) == Ed25519PrivateKey.from_private_bytes(secret).sign(message)
