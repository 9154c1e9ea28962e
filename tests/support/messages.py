"""PostgreSQL messages for raw clients, written from the protocol's documentation.

Kept apart from ``proxy``'s own code on purpose: a test that shared its encoder would share its
mistakes. https://www.postgresql.org/docs/current/protocol-message-formats.html
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

PROTOCOL_3_0 = 196608
PROTOCOL_3_2 = 196610
CANCEL_CODE = 80877102
SSL_CODE = 80877103
GSS_CODE = 80877104


@dataclass(frozen=True, slots=True)
class Message:
    """One message as it came: its type character and payload."""

    code: str
    payload: bytes

    @property
    def fields(self) -> dict[str, str]:
        """Fields of an ErrorResponse or NoticeResponse by their letters (C is the SQLSTATE)."""
        assert self.code in "EN", self
        parts = self.payload.rstrip(b"\0").split(b"\0")
        return {part[:1].decode(): part[1:].decode() for part in parts if part}

    @property
    def row(self) -> list[bytes | None]:
        """Values of a DataRow."""
        assert self.code == "D", self
        (count,) = struct.unpack_from("!H", self.payload)
        position, values = 2, list[bytes | None]()
        for _ in range(count):
            (size,) = struct.unpack_from("!i", self.payload, position)
            position += 4
            values.append(None if size < 0 else self.payload[position : position + size])
            position += max(size, 0)
        return values

    @property
    def tag(self) -> str:
        """Tag of a CommandComplete, or any single-string payload."""
        return self.payload.rstrip(b"\0").decode()


def codes(messages: list[Message]) -> str:
    """Give the type characters of messages, in order."""
    return "".join(message.code for message in messages)


def rows(messages: list[Message]) -> list[list[bytes | None]]:
    """Give the DataRows among messages."""
    return [message.row for message in messages if message.code == "D"]


def states(messages: list[Message]) -> list[str]:
    """Give the SQLSTATEs of the ErrorResponses among messages."""
    return [message.fields["C"] for message in messages if message.code == "E"]


def message(code: str, payload: bytes = b"") -> bytes:
    """Frame a message."""
    return code.encode() + struct.pack("!I", len(payload) + 4) + payload


def text(value: str | bytes) -> bytes:
    """Encode a null-terminated string."""
    return (value.encode() if isinstance(value, str) else value) + b"\0"


def untyped(payload: bytes) -> bytes:
    """Frame a start-up packet, which has no type character."""
    return struct.pack("!I", len(payload) + 4) + payload


def startup(parameters: dict[str, str] | dict[str, bytes], protocol: int = PROTOCOL_3_0) -> bytes:
    """StartupMessage."""
    body = b"".join(text(item) for pair in parameters.items() for item in pair)
    return untyped(struct.pack("!I", protocol) + body + b"\0")


def cancel(pid: int, key: bytes) -> bytes:
    """CancelRequest."""
    return untyped(struct.pack("!II", CANCEL_CODE, pid) + key)


def query(sql: str | bytes) -> bytes:
    """Query: the simple protocol."""
    return message("Q", text(sql))


def parse(sql: str, name: str = "", types: tuple[int, ...] = ()) -> bytes:
    """Parse."""
    packed = struct.pack(f"!H{len(types)}I", len(types), *types)
    return message("P", text(name) + text(sql) + packed)


def bind(
    *values: str | bytes | None, name: str = "", portal: str = "", binary_result: bool = False
) -> bytes:
    """Bind with text parameters."""
    body = text(portal) + text(name) + struct.pack("!HH", 0, len(values))
    for value in values:
        if value is None:
            body += struct.pack("!i", -1)
            continue
        raw = value.encode() if isinstance(value, str) else value
        body += struct.pack("!i", len(raw)) + raw
    return message("B", body + (struct.pack("!HH", 1, 1) if binary_result else b"\0\0"))


def describe(kind: str, name: str = "") -> bytes:
    """Describe a statement (``S``) or a portal (``P``)."""
    return message("D", kind.encode() + text(name))


def execute(portal: str = "", limit: int = 0) -> bytes:
    """Execute; a ``limit`` of 0 is all rows."""
    return message("E", text(portal) + struct.pack("!I", limit))


def close(kind: str, name: str = "") -> bytes:
    """Close a statement (``S``) or a portal (``P``)."""
    return message("C", kind.encode() + text(name))


def copy_data(data: bytes) -> bytes:
    """CopyData."""
    return message("d", data)


def copy_fail(reason: str) -> bytes:
    """CopyFail."""
    return message("f", text(reason))


def function_call(oid: int, *values: bytes) -> bytes:
    """FunctionCall with text arguments and a text result."""
    body = struct.pack("!IHH", oid, 0, len(values))
    for value in values:
        body += struct.pack("!i", len(value)) + value
    return message("F", body + struct.pack("!H", 0))


SYNC = message("S")
FLUSH = message("H")
COPY_DONE = message("c")
TERMINATE = message("X")
SSL_REQUEST = untyped(struct.pack("!I", SSL_CODE))
GSS_REQUEST = untyped(struct.pack("!I", GSS_CODE))


def run(sql: str, *values: str | bytes | None) -> bytes:
    """Parse, Bind, Describe, Execute of an unnamed statement, without Sync."""
    return parse(sql) + bind(*values) + describe("P") + execute()
