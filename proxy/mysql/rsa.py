"""Encryption with a server's RSA key (RFC 8017: RSAES-OAEP with SHA-1, no label).

Passwords are sent like this to servers without TLS. Only the public operation is here.
"""

from __future__ import annotations

import binascii
import hashlib
from typing import TYPE_CHECKING, Final

from proxy.errors import ServerProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable

_HASH_BYTES: Final = 20
_SEQUENCE: Final = 0x30
_INTEGER: Final = 0x02
_BIT_STRING: Final = 0x03
_LEAST_BITS: Final = 1024
_MOST_BITS: Final = 16384


def encrypt(plain: bytes, public_key: bytes, nonce: Callable[[int], bytes]) -> bytes:
    """Encrypt with a public key in PEM. Raises ``ServerProtocolError`` if it cannot be used."""
    modulus, exponent = read_public_key(public_key)
    size = (modulus.bit_length() + 7) // 8
    room = size - 2 * _HASH_BYTES - 2
    if len(plain) > room:
        raise ServerProtocolError("the password is too long for the server's RSA key")
    block = _sha1(b"") + bytes(room - len(plain)) + b"\x01" + plain
    seed = nonce(_HASH_BYTES)
    masked = _xor(block, _mask(seed, len(block)))
    masked_seed = _xor(seed, _mask(masked, _HASH_BYTES))
    number = int.from_bytes(masked_seed + masked, "big")
    return pow(number, exponent, modulus).to_bytes(size, "big")


def read_public_key(pem: bytes) -> tuple[int, int]:
    """Read modulus and exponent from PEM. Raises ``ServerProtocolError``."""
    lines = [line.strip() for line in pem.strip(b"\0 \r\n").splitlines()]
    try:
        if lines[0] != b"-----BEGIN PUBLIC KEY-----" or lines[-1] != b"-----END PUBLIC KEY-----":
            raise ValueError("not a public key")
        der = binascii.a2b_base64(b"".join(lines[1:-1]))
        info, _ = _element(der, 0, _SEQUENCE)
        _, position = _element(info, 0, _SEQUENCE)
        bits, _ = _element(info, position, _BIT_STRING)
        key, _ = _element(bits[1:], 0, _SEQUENCE)
        modulus, position = _element(key, 0, _INTEGER)
        exponent, _ = _element(key, position, _INTEGER)
    except (ValueError, IndexError) as error:
        raise ServerProtocolError("server sent an RSA key that cannot be read") from error
    number = int.from_bytes(modulus, "big")
    if not _LEAST_BITS <= number.bit_length() <= _MOST_BITS or len(exponent) > 4:
        raise ServerProtocolError("server sent an RSA key of a size that cannot be used")
    return number, int.from_bytes(exponent, "big")


def _element(der: bytes, position: int, tag: int) -> tuple[bytes, int]:
    """Read one element of DER; gives its contents and the position behind it."""
    if der[position] != tag:
        raise ValueError("unexpected element")
    size, start = der[position + 1], position + 2
    if size & 0x80:
        width = size & 0x7F
        size, start = int.from_bytes(der[start : start + width], "big"), start + width
    if start + size > len(der):
        raise ValueError("cut short")
    return der[start : start + size], start + size


def _sha1(data: bytes) -> bytes:
    return hashlib.sha1(data).digest()  # noqa: S324 - the protocol says so


def _mask(seed: bytes, size: int) -> bytes:
    """Make a mask (MGF1)."""
    mask = b""
    while len(mask) < size:
        mask += _sha1(seed + (len(mask) // _HASH_BYTES).to_bytes(4, "big"))
    return mask[:size]


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))
