"""Encryption with RSA: a library decrypts it; keys that cannot be used are refused."""

from __future__ import annotations

import secrets

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import ServerProtocolError
from proxy.mysql.rsa import encrypt, read_public_key

KEY = rsa.generate_private_key(65537, 2048)


def pem_of(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> bytes:
    """Encode a public key as servers send it."""
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


PEM = pem_of(KEY.public_key())


@given(st.binary(max_size=214))
def test_what_is_encrypted_can_be_decrypted(plain: bytes) -> None:
    oaep = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)
    assert KEY.decrypt(encrypt(plain, PEM, secrets.token_bytes), oaep) == plain


def test_a_password_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ServerProtocolError, match="too long"):
        encrypt(bytes(215), PEM, secrets.token_bytes)


def test_a_key_is_read_whatever_stands_around_it() -> None:
    numbers = KEY.public_key().public_numbers()
    assert read_public_key(PEM + b"\n\0") == (numbers.n, numbers.e)


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        b"nonsense",
        PEM[:-30],
        PEM.replace(b"PUBLIC", b"SECRET"),
        pem_of(ec.generate_private_key(ec.SECP256R1()).public_key()),
    ],
)
def test_a_key_of_another_kind_is_refused(pem: bytes) -> None:
    with pytest.raises(ServerProtocolError):
        read_public_key(pem)


@given(st.data())
def test_a_damaged_key_is_refused_or_read(data: st.DataObject) -> None:
    lines = PEM.splitlines()
    damaged = bytearray(b"\n".join(lines[1:-1]))
    for _ in range(3):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        read_public_key(b"\n".join([lines[0], bytes(damaged), lines[-1]]))
    except ServerProtocolError:
        return


def test_a_key_too_small_is_refused() -> None:
    small = rsa.RSAPublicNumbers(65537, (1 << 511) + 1).public_key()
    with pytest.raises(ServerProtocolError, match="size"):
        read_public_key(pem_of(small))
