"""Parameter types within COM_STMT_EXECUTE and MariaDB's COM_STMT_BULK_EXECUTE.

A client sends the types with the first execution and may leave them out later: the server keeps
them with the statement. Another server connection does not have them.

Source: source documentation, "COM_STMT_EXECUTE"; MariaDB, "COM_STMT_BULK_EXECUTE".
"""

from __future__ import annotations

from typing import Final

from proxy.errors import ProtocolError
from proxy.mysql.constants import COM_STMT_BULK_EXECUTE
from proxy.mysql.lenenc import read_int, read_lenenc, read_lenenc_int

_PARAMETER_COUNT_AVAILABLE: Final = 0x08
_SEND_TYPES: Final = 128
"""Flag of COM_STMT_BULK_EXECUTE."""


class ExecuteTypes:
    """Where a command has, or would have, its parameter types."""

    __slots__ = ("bulk", "flag", "types")

    def __init__(self, flag: int, types: bytes | None, *, bulk: bool) -> None:
        self.flag = flag
        """Position of the byte that says whether types follow."""
        self.types = types
        """The types; ``None`` if there are none."""
        self.bulk = bulk

    @property
    def end(self) -> int:
        """Position behind what says whether types follow."""
        return self.flag + (2 if self.bulk else 1)


def execute_types(payload: bytes, parameters: int, *, attributes: bool) -> ExecuteTypes | None:
    """Find the parameter types in a command for a statement with this many parameters.

    ``attributes``: whether CLIENT_QUERY_ATTRIBUTES is in force. ``None`` if the command has no
    parameters, or is malformed, which the server will say.
    """
    try:
        if payload[0] == COM_STMT_BULK_EXECUTE:
            return _bulk_types(payload, parameters)
        return _types(payload, parameters, attributes=attributes)
    except ProtocolError:
        return None


def _bulk_types(payload: bytes, parameters: int) -> ExecuteTypes | None:
    flags, position = read_int(payload, 5, 2)
    if not flags & _SEND_TYPES:
        return ExecuteTypes(5, None, bulk=True)
    _, end = read_int(payload, position, 2 * parameters)
    return ExecuteTypes(5, payload[position:end], bulk=True)


def _types(payload: bytes, parameters: int, *, attributes: bool) -> ExecuteTypes | None:
    flags, position = read_int(payload, 5, 1)
    position += 4
    counted = attributes and bool(flags & _PARAMETER_COUNT_AVAILABLE)
    if counted:
        parameters, position = read_lenenc_int(payload, position)
    if parameters == 0:
        return None
    flag = position + (parameters + 7) // 8
    bound, position = read_int(payload, flag, 1)
    if not bound:
        return ExecuteTypes(flag, None, bulk=False)
    start = position
    if not attributes:
        _, position = read_int(payload, start, 2 * parameters)
        return ExecuteTypes(flag, payload[start:position], bulk=False)
    for _ in range(parameters):
        _, position = read_int(payload, position, 2)
        _, position = read_lenenc(payload, position)
    return ExecuteTypes(flag, payload[start:position], bulk=False)


def with_types(payload: bytes, place: ExecuteTypes, types: bytes) -> bytes:
    """Put types into a command that came without."""
    if place.bulk:
        flags = int.from_bytes(payload[5:7], "little") | _SEND_TYPES
        return payload[:5] + flags.to_bytes(2, "little") + types + payload[7:]
    return payload[: place.flag] + b"\x01" + types + payload[place.flag + 1 :]
