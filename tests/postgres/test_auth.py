"""Credentials by kind, MD5, and channel binding against certificates of every kind."""

from __future__ import annotations

import datetime
import hashlib
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from proxy.postgres.auth import (
    channel_binding,
    check_md5,
    check_password,
    md5_hash,
    md5_response,
    read_secret,
)
from proxy.postgres.scram import derive_keys, format_verifier

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

Digest = hashes.SHA224 | hashes.SHA256 | hashes.SHA384 | hashes.SHA512
KEYS = derive_keys(b"secret", b"salt", 3)


def test_read_secret() -> None:
    assert read_secret("") == read_secret("")
    assert read_secret("").password is None
    assert read_secret("secret").password == b"secret"
    verifier = read_secret(format_verifier(KEYS))
    assert verifier.password is None
    assert verifier.keys is not None
    assert verifier.keys.stored_key == KEYS.stored_key
    hashed = md5_hash(b"secret", "app")
    assert read_secret(hashed).md5_hash == hashed
    assert read_secret(hashed).password is None
    # Not quite a hash: a password, as in PostgreSQL.
    for almost in (hashed[:-1], hashed + "0", hashed.upper(), "md5" + "g" * 32):
        assert read_secret(almost).password == almost.encode()


def test_md5_by_the_manual() -> None:
    """Message flow: concat('md5', md5(concat(md5(concat(password, username)), random-salt)))."""
    inner = hashlib.md5(b"secretapp").hexdigest()
    outer = hashlib.md5(inner.encode() + b"salt").hexdigest()
    assert md5_hash(b"secret", "app") == "md5" + inner
    assert md5_response("md5" + inner, b"salt") == b"md5" + outer.encode()


@given(st.binary(min_size=4, max_size=4), st.binary(max_size=40))
def test_md5_check(salt: bytes, response: bytes) -> None:
    stored = md5_hash(b"secret", "app")
    assert check_md5(stored, salt, md5_response(stored, salt))
    assert not check_md5(stored, salt, response)


def test_check_password() -> None:
    assert check_password(KEYS, b"secret") == KEYS
    assert check_password(KEYS, b"Secret") is None


def certificate(
    key: CertificateIssuerPrivateKeyTypes,
    algorithm: Digest | None,
    rsa_padding: padding.PSS | None = None,
) -> bytes:
    """Make a self-signed certificate (DER) with this signature algorithm."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, algorithm, rsa_padding=rsa_padding)
    )
    return made.public_bytes(serialization.Encoding.DER)


RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
DIGESTS: dict[str, Digest] = {
    "sha224": hashes.SHA224(),
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}


@pytest.mark.parametrize("name", DIGESTS)
@pytest.mark.parametrize("kind", ["rsa", "pss", "ec"])
def test_channel_binding_uses_the_certificates_hash(kind: str, name: str) -> None:
    digest = DIGESTS[name]
    if kind == "pss":
        pss = padding.PSS(padding.MGF1(digest), padding.PSS.DIGEST_LENGTH)
        der = certificate(RSA, digest, rsa_padding=pss)
    else:
        der = certificate(RSA if kind == "rsa" else EC, digest)
    assert channel_binding(der) == hashlib.new(name, der).digest()


@pytest.mark.parametrize(
    "identifier",
    [
        bytes.fromhex("06092a864886f70d010104"),  # md5WithRSAEncryption
        bytes.fromhex("06092a864886f70d010105"),  # sha1WithRSAEncryption
        bytes.fromhex("06072a8648ce3d0401"),  # ecdsa-with-SHA1
        bytes.fromhex("06092a864886f70d01010a3000"),  # RSASSA-PSS with its default, SHA-1
    ],
)
def test_md5_and_sha1_become_sha256(identifier: bytes) -> None:
    body = b"\x30\x00" + b"\x30" + bytes([len(identifier)]) + identifier + b"\x03\x01\x00"
    der = b"\x30" + bytes([len(body)]) + body
    assert channel_binding(der) == hashlib.sha256(der).digest()


def test_no_channel_binding_without_a_hash() -> None:
    assert channel_binding(certificate(ed25519.Ed25519PrivateKey.generate(), None)) is None
    assert channel_binding(b"") is None


@given(st.binary(max_size=60))
def test_any_certificate(der: bytes) -> None:
    found = channel_binding(der)
    assert found is None or len(found) in (28, 32, 48, 64)


SOUND = certificate(EC, hashes.SHA256())


@given(st.data())
def test_any_damaged_certificate(data: st.DataObject) -> None:
    der = bytearray(SOUND)
    position = data.draw(st.integers(0, len(der) - 1))
    der[position] = data.draw(st.integers(0, 255))
    found = channel_binding(bytes(der[: data.draw(st.integers(0, len(der)))]))
    assert found is None or len(found) in (28, 32, 48, 64)
