"""Integers, strings and packets as the MySQL protocol encodes them (source documentation, "Protocol
Data Types").

Readers take a payload and a position and return the value and the position behind it. They raise
``ProtocolError`` where the payload ends too early, so whoever calls them says whose fault that is.
"""

from __future__ import annotations

from proxy.errors import ProtocolError
from proxy.mysql.constants import MAX_PAYLOAD_BYTES

_TRUNCATED = "malformed packet"


def read_int(payload: bytes, position: int, size: int) -> tuple[int, int]:
    """Read a fixed-length integer of ``size`` bytes, little-endian."""
    end = position + size
    if end > len(payload):
        raise ProtocolError(_TRUNCATED)
    return int.from_bytes(payload[position:end], "little"), end


def read_lenenc_int(payload: bytes, position: int) -> tuple[int, int]:
    """Read a length-encoded integer; 0xFB (NULL) and 0xFF (ERR) are none."""
    if position >= len(payload):
        raise ProtocolError(_TRUNCATED)
    first = payload[position]
    if first < 0xFB:
        return first, position + 1
    if first == 0xFC:
        return read_int(payload, position + 1, 2)
    if first == 0xFD:
        return read_int(payload, position + 1, 3)
    if first == 0xFE:
        return read_int(payload, position + 1, 8)
    raise ProtocolError("malformed length-encoded integer")


def read_bytes(payload: bytes, position: int, size: int) -> tuple[bytes, int]:
    """Read a string of ``size`` bytes."""
    end = position + size
    if end > len(payload):
        raise ProtocolError(_TRUNCATED)
    return payload[position:end], end


def read_lenenc(payload: bytes, position: int) -> tuple[bytes, int]:
    """Read a length-encoded string."""
    size, position = read_lenenc_int(payload, position)
    return read_bytes(payload, position, size)


def read_null_terminated(payload: bytes, position: int) -> tuple[bytes, int]:
    """Read a string up to its NUL, which is skipped."""
    end = payload.find(b"\0", position)
    if end < 0:
        raise ProtocolError(_TRUNCATED)
    return payload[position:end], end + 1


def lenenc_int(value: int) -> bytes:
    """Encode a length-encoded integer, 0 to 2**64 - 1."""
    if value < 0xFB:
        return bytes((value,))
    if value <= 0xFFFF:
        return b"\xfc" + value.to_bytes(2, "little")
    if value <= 0xFFFFFF:
        return b"\xfd" + value.to_bytes(3, "little")
    return b"\xfe" + value.to_bytes(8, "little")


def lenenc(value: bytes) -> bytes:
    """Encode a length-encoded string."""
    return lenenc_int(len(value)) + value


def packet(payload: bytes, sequence: int) -> bytes:
    """Put a payload into packets: more than one if it has 16 MiB - 1 or more bytes."""
    if len(payload) < MAX_PAYLOAD_BYTES:
        return len(payload).to_bytes(3, "little") + bytes((sequence & 0xFF,)) + payload
    parts = []
    for start in range(0, len(payload) + 1, MAX_PAYLOAD_BYTES):
        part = payload[start : start + MAX_PAYLOAD_BYTES]
        parts += [len(part).to_bytes(3, "little"), bytes((sequence & 0xFF,)), part]
        sequence += 1
    return b"".join(parts)
