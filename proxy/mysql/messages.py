"""OK, EOF and ERR packets (source documentation, "Generic Response Packets").

Readers take a payload and raise ``ProtocolError`` where it is malformed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.errors import ProtocolError
from proxy.mysql.constants import EOF, ERR, OK, SERVER_SESSION_STATE_CHANGED
from proxy.mysql.lenenc import lenenc, lenenc_int, packet, read_int, read_lenenc, read_lenenc_int

if TYPE_CHECKING:
    from mypy_extensions import i64

_ERR_BEFORE_STATE: Final = 3
"""Bytes of an ERR packet ahead of its SQLSTATE."""
_PLAIN_OK_BYTES: Final = 7
"""Bytes of an OK packet with small numbers and nothing to tell."""
_LONG_INT: Final = 0xFB
"""First byte from which a length-encoded integer has more."""
_STATEMENT_ID: Final = b"statement_id"
STATEMENT_ID_ONLY: Final = b"\0\x0e\x0cstatement_id\0"
"""Stands for every session-state block that has nothing but what MySQL reports with every OK."""
_MOST_ENDS: Final = 1024
_ends: Final[dict[int, bytes]] = {}
"""Packets of ``plain_ok_packet`` by what is in them."""


class Ok:
    """An OK packet, which is never changed."""

    __slots__ = ("affected_rows", "info", "last_insert_id", "status", "track", "warnings")

    def __init__(
        self,
        affected_rows: int = 0,
        last_insert_id: int = 0,
        status: int = 0,
        warnings: int = 0,
        info: bytes = b"",
        track: bytes = b"",
    ) -> None:
        self.affected_rows = affected_rows
        self.last_insert_id = last_insert_id
        self.status = status
        self.warnings = warnings
        self.info = info
        self.track = track
        """The session-state block without its length (``tracking.py``); empty if there is none."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ok) and self._fields() == other._fields()

    def __hash__(self) -> int:
        return hash(self._fields())

    def __repr__(self) -> str:
        return f"Ok{self._fields()}"

    def _fields(self) -> tuple[int, int, int, int, bytes, bytes]:
        return (
            self.affected_rows,
            self.last_insert_id,
            self.status,
            self.warnings,
            self.info,
            self.track,
        )


class Err:
    """An ERR packet, which is never changed."""

    __slots__ = ("errno", "message", "sqlstate")

    def __init__(self, errno: int, sqlstate: str, message: bytes) -> None:
        self.errno = errno
        self.sqlstate = sqlstate
        """Empty where the packet has none: that of a server which has not been greeted yet."""
        self.message = message

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Err) and self._fields() == other._fields()

    def __hash__(self) -> int:
        return hash(self._fields())

    def __repr__(self) -> str:
        return f"Err{self._fields()}"

    def _fields(self) -> tuple[int, str, bytes]:
        return self.errno, self.sqlstate, self.message


def read_ok(payload: bytes) -> Ok:
    """Read an OK packet, or the one that ends a result set, of a connection with SESSION_TRACK."""
    if not payload or payload[0] not in (OK, EOF):
        raise ProtocolError("malformed OK packet")
    if len(payload) == _PLAIN_OK_BYTES and payload[1] < _LONG_INT and payload[2] < _LONG_INT:
        flags = payload[3] | (payload[4] << 8)
        return Ok(payload[1], payload[2], flags, payload[5] | (payload[6] << 8))
    affected_rows, position = read_lenenc_int(payload, 1)
    last_insert_id, position = read_lenenc_int(payload, position)
    status, position = read_int(payload, position, 2)
    warnings, position = read_int(payload, position, 2)
    info = track = b""
    if position < len(payload):
        info, position = read_lenenc(payload, position)
        if status & SERVER_SESSION_STATE_CHANGED and position < len(payload):
            track, position = read_lenenc(payload, position)
    if position != len(payload):
        raise ProtocolError("malformed OK packet")
    return Ok(affected_rows, last_insert_id, status, warnings, info, track)


def read_ok_at(data: bytes, start: i64, end: i64) -> Ok:
    """Read the OK packet whose payload lies here, as ``read_ok`` does."""
    size = end - start
    if size >= _PLAIN_OK_BYTES and data[start + 1] < _LONG_INT and data[start + 2] < _LONG_INT:
        status = data[start + 3] | (data[start + 4] << 8)
        track = b""
        if (
            size > _PLAIN_OK_BYTES + 4
            and status & SERVER_SESSION_STATE_CHANGED
            and data[start + 7] == 0
            and data[start + 8] == size - 9
            and data[start + 10] == size - 11
            and data.startswith(_STATEMENT_ID, start + 12)
        ):
            track = STATEMENT_ID_ONLY
        if track or size == _PLAIN_OK_BYTES:
            warnings = data[start + 5] | (data[start + 6] << 8)
            return Ok(data[start + 1], data[start + 2], status, warnings, b"", track)
    return read_ok(data[start:end])


def only_statement_id(track: bytes) -> bool:
    """Whether a session-state block has nothing but what MySQL reports with every OK."""
    return track is STATEMENT_ID_ONLY or (
        track[3:15] == _STATEMENT_ID and len(track) == track[1] + 2
    )


def ok_payload(ok: Ok, *, session_track: bool, header: int = OK) -> bytes:
    """Encode an OK packet, as servers do, for a client with or without SESSION_TRACK.

    SERVER_SESSION_STATE_CHANGED is set where there is a session-state block, and nowhere else.
    """
    tracked = session_track and bool(ok.track)
    status = ok.status & ~SERVER_SESSION_STATE_CHANGED
    if tracked:
        status |= SERVER_SESSION_STATE_CHANGED
    payload = (
        bytes((header,))
        + lenenc_int(ok.affected_rows)
        + lenenc_int(ok.last_insert_id)
        + status.to_bytes(2, "little")
        + ok.warnings.to_bytes(2, "little")
    )
    if tracked:
        return payload + lenenc(ok.info) + lenenc(ok.track)
    # Without SESSION_TRACK, too, servers give the length of what documentation calls the rest.
    return payload + lenenc(ok.info) if ok.info else payload


def plain_ok_packet(header: int, status: int, sequence: int) -> bytes:
    """Encode an OK packet that tells status flags and nothing else; most results end with one."""
    key = header << 24 | status << 8 | sequence
    found = _ends.get(key)
    if found is None:
        payload = ok_payload(Ok(status=status), session_track=False, header=header)
        found = packet(payload, sequence)
        if len(_ends) >= _MOST_ENDS:
            _ends.clear()
        _ends[key] = found
    return found


def eof_payload(status: int, warnings: int) -> bytes:
    """Encode an EOF packet."""
    return bytes((EOF,)) + warnings.to_bytes(2, "little") + status.to_bytes(2, "little")


def read_err(payload: bytes) -> Err:
    """Read an ERR packet."""
    if not payload or payload[0] != ERR:
        raise ProtocolError("malformed ERR packet")
    errno, position = read_int(payload, 1, 2)
    if payload[_ERR_BEFORE_STATE : _ERR_BEFORE_STATE + 1] != b"#":
        return Err(errno, "", payload[position:])
    sqlstate = payload[position + 1 : position + 6]
    if len(sqlstate) != 5:
        raise ProtocolError("malformed ERR packet")
    return Err(errno, sqlstate.decode("ascii", "replace"), payload[position + 6 :])


def err_payload(errno: int, sqlstate: str, message: str | bytes) -> bytes:
    """Encode an ERR packet; an empty ``sqlstate`` is left out, as ahead of a greeting."""
    text = message.encode("utf-8", "surrogateescape") if isinstance(message, str) else message
    state = b"#" + sqlstate.encode() if sqlstate else b""
    return bytes((ERR,)) + errno.to_bytes(2, "little") + state + text
