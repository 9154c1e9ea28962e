"""Ed25519 signatures as MariaDB's ``ed25519`` plugin makes them (RFC 8032, 5.1).

The password itself, of any length, stands where RFC 8032 has a secret key of 32 bytes, so no
library takes it. A signature takes a few milliseconds; logins to servers are few. It is not made in
constant time.
"""

from __future__ import annotations

import hashlib
from typing import Final

_PRIME: Final = 2**255 - 19
_ORDER: Final = 2**252 + 27742317777372353535851937790883648493
_D: Final = -121665 * pow(121666, -1, _PRIME) % _PRIME
_BASE_Y: Final = 4 * pow(5, -1, _PRIME) % _PRIME
_BASE_X: Final = 15112221349535400772501151409588531511454012693041857206046113283949847762202

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


def _multiplied(number: int) -> bytes:
    """Encode the base point times a number."""
    total, power = _NEUTRAL, _BASE
    while number:
        if number & 1:
            total = _add(total, power)
        power = _add(power, power)
        number >>= 1
    inverse = pow(total[2], -1, _PRIME)
    x, y = total[0] * inverse % _PRIME, total[1] * inverse % _PRIME
    return (y | (x & 1) << 255).to_bytes(32, "little")


def _number(data: bytes) -> int:
    return int.from_bytes(hashlib.sha512(data).digest(), "little")


def sign(password: bytes, message: bytes) -> bytes:
    """Sign a message; gives 64 bytes."""
    expanded = hashlib.sha512(password).digest()
    secret = int.from_bytes(expanded[:32], "little") & (2**254 - 8) | 2**254
    public = _multiplied(secret)
    once = _number(expanded[32:] + message) % _ORDER
    commitment = _multiplied(once)
    answer = (once + _number(commitment + public + message) * secret) % _ORDER
    return commitment + answer.to_bytes(32, "little")
