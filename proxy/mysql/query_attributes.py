"""Where the text of a COM_QUERY begins for clients that have CLIENT_QUERY_ATTRIBUTES.

Source: source documentation, "COM_QUERY", "Binary Protocol Value".
"""

from __future__ import annotations

from typing import Final

from proxy.errors import ProtocolError
from proxy.mysql.lenenc import read_int, read_lenenc, read_lenenc_int

_FIXED: Final = {0x01: 1, 0x02: 2, 0x03: 4, 0x04: 4, 0x05: 8, 0x08: 8, 0x09: 4, 0x0D: 2}
"""Bytes of a value by type: TINY, SHORT, LONG, FLOAT, DOUBLE, LONGLONG, INT24, YEAR."""
_COUNTED: Final = frozenset({0x07, 0x0A, 0x0B, 0x0C})
"""TIMESTAMP, DATE, TIME, DATETIME: a byte says how many follow."""
_NULL: Final = 0x06


def text_start(payload: bytes) -> int:
    """Position of the text in a COM_QUERY's payload, at most its length.

    A payload that is malformed, which a server refuses, is taken for text from the beginning.
    """
    if payload[1:3] == b"\0\x01":
        return 3
    try:
        return _behind_attributes(payload)
    except ProtocolError:
        return 1


def _behind_attributes(payload: bytes) -> int:
    count, position = read_lenenc_int(payload, 1)
    _, position = read_lenenc_int(payload, position)
    if count == 0:
        return position
    nulls, position = payload[position : position + (count + 7) // 8], position + (count + 7) // 8
    _, position = read_int(payload, position, 1)
    types = []
    for _ in range(count):
        kind, position = read_int(payload, position, 2)
        _, position = read_lenenc(payload, position)
        types.append(kind & 0xFF)
    for index, kind in enumerate(types):
        if kind == _NULL or nulls[index // 8] >> index % 8 & 1:
            continue
        if kind in _FIXED:
            _, position = read_int(payload, position, _FIXED[kind])
        elif kind in _COUNTED:
            size, position = read_int(payload, position, 1)
            _, position = read_int(payload, position, size)
        else:
            _, position = read_lenenc(payload, position)
    return position
