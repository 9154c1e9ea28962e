"""SASLprep (RFC 4013) as PostgreSQL applies it to passwords before SCRAM hashes them."""

from __future__ import annotations

import stringprep
import unicodedata

_PROHIBITED = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
    stringprep.in_table_a1,
)


def saslprep(password: bytes) -> bytes:
    """Normalise a password; what RFC 4013 prohibits, or is not UTF-8, comes back as it is.

    ASCII is never changed, control characters included: PostgreSQL looks no further there.
    """
    if password.isascii():
        return password
    try:
        text = password.decode()
    except UnicodeDecodeError:
        return password
    mapped = "".join(_map(character) for character in text)
    normal = unicodedata.normalize("NFKC", mapped)
    if not normal or any(test(character) for character in normal for test in _PROHIBITED):
        return password
    if not _bidirectional_rule_holds(normal):
        return password
    return normal.encode()


def _map(character: str) -> str:
    """RFC 4013 section 2.1: other spaces become a space, some characters nothing."""
    if stringprep.in_table_c12(character):
        return " "
    return "" if stringprep.in_table_b1(character) else character


def _bidirectional_rule_holds(text: str) -> bool:
    """RFC 3454 section 6: right-to-left text begins and ends so, and holds nothing else."""
    if not any(map(stringprep.in_table_d1, text)):
        return True
    return (
        not any(map(stringprep.in_table_d2, text))
        and stringprep.in_table_d1(text[0])
        and stringprep.in_table_d1(text[-1])
    )
