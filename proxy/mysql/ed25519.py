"""Ed25519 signatures as MariaDB's plugins ``ed25519`` and ``parsec`` make them (RFC 8032, 5.1).

For ``ed25519``, the password itself, of any length, stands where RFC 8032 has a secret key of 32
bytes, so no library takes it. Making a key, a signature and checking one takes up to a millisecond
each. None is done in constant time.
"""

from __future__ import annotations

import functools
import hashlib
from hmac import compare_digest
from typing import Final

_PRIME: Final = 2**255 - 19
_ORDER: Final = 2**252 + 27742317777372353535851937790883648493
_D: Final = -121665 * pow(121666, -1, _PRIME) % _PRIME
_BASE_Y: Final = 4 * pow(5, -1, _PRIME) % _PRIME
_BASE_X: Final = 15112221349535400772501151409588531511454012693041857206046113283949847762202
_DIGITS: Final = 64
"""Digits of 4 bits in the numbers that the base point is multiplied by."""
_HALF_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64

Point = tuple[int, int, int, int]
"""Extended homogeneous coordinates: X, Y, Z, T."""
_BASE: Final[Point] = (_BASE_X, _BASE_Y, 1, _BASE_X * _BASE_Y % _PRIME)
_NEUTRAL: Final[Point] = (0, 1, 1, 0)


def _add(one: Point, other: Point) -> Point:
    a = (one[1] - one[0]) * (other[1] - other[0]) % _PRIME
    b = (one[1] + one[0]) * (other[1] + other[0]) % _PRIME
    c = 2 * one[3] * other[3] * _D % _PRIME
    d = 2 * one[2] * other[2] % _PRIME
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % _PRIME, g * h % _PRIME, f * g % _PRIME, e * h % _PRIME)


@functools.cache
def _multiples() -> list[list[Point]]:
    """Make the base point times every digit at every place; takes some 20 milliseconds, once."""
    table = []
    power = _BASE
    for _ in range(_DIGITS):
        row = [_NEUTRAL]
        for _ in range(15):
            row.append(_add(row[-1], power))
        table.append(row)
        power = _add(row[-1], power)
    return table


def _multiplied(number: int) -> bytes:
    """Encode the base point times a number below 2^256."""
    total = _NEUTRAL
    for row in _multiples():
        total = _add(total, row[number & 15])
        number >>= 4
    inverse = pow(total[2], -1, _PRIME)
    x, y = total[0] * inverse % _PRIME, total[1] * inverse % _PRIME
    return (y | (x & 1) << 255).to_bytes(_HALF_BYTES, "little")


def _number(data: bytes) -> int:
    return int.from_bytes(hashlib.sha512(data).digest(), "little")


def _secret_of(password: bytes) -> tuple[int, bytes]:
    """The secret number, and what one-time numbers are made with."""
    expanded = hashlib.sha512(password).digest()
    low = int.from_bytes(expanded[:_HALF_BYTES], "little")
    return low & (2**254 - 8) | 2**254, expanded[_HALF_BYTES:]


class SigningKey:
    """A secret key, of any length, and the public key that belongs to it."""

    __slots__ = ("_prefix", "_secret", "public")

    def __init__(self, secret: bytes) -> None:
        self._secret, self._prefix = _secret_of(secret)
        self.public = _multiplied(self._secret)

    def sign(self, message: bytes) -> bytes:
        """Sign a message; gives ``SIGNATURE_BYTES``."""
        once = _number(self._prefix + message) % _ORDER
        commitment = _multiplied(once)
        challenge = _number(commitment + self.public + message)
        answer = (once + challenge * self._secret) % _ORDER
        return commitment + answer.to_bytes(_HALF_BYTES, "little")

    def has_signed(self, message: bytes, signature: bytes) -> bool:
        """Whether a signature of a message was made with this key.

        Who knows the secret can tell from the answer which commitment belongs to it.
        """
        if len(signature) != SIGNATURE_BYTES:
            return False
        commitment = signature[:_HALF_BYTES]
        answer = int.from_bytes(signature[_HALF_BYTES:], "little")
        challenge = _number(commitment + self.public + message)
        expected = _multiplied((answer - challenge * self._secret) % _ORDER)
        return answer < _ORDER and compare_digest(expected, commitment)
