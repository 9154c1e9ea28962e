"""Message codes and limits of the PostgreSQL protocol (docs: "Message Formats").

Codes are spelled as the specification names the messages; the comment is the byte on the wire.
"""

from __future__ import annotations

from typing import Final

# Messages a client sends.
BIND: Final = 0x42  # B
CLOSE: Final = 0x43  # C
COPY_DATA: Final = 0x64  # d
COPY_DONE: Final = 0x63  # c
COPY_FAIL: Final = 0x66  # f
DESCRIBE: Final = 0x44  # D
EXECUTE: Final = 0x45  # E
FLUSH: Final = 0x48  # H
FUNCTION_CALL: Final = 0x46  # F
PARSE: Final = 0x50  # P
QUERY: Final = 0x51  # Q
SYNC: Final = 0x53  # S
TERMINATE: Final = 0x58  # X

# Messages a server sends (CopyData and CopyDone as above).
BIND_COMPLETE: Final = 0x32  # 2
CLOSE_COMPLETE: Final = 0x33  # 3
COMMAND_COMPLETE: Final = 0x43  # C
COPY_IN_RESPONSE: Final = 0x47  # G
COPY_OUT_RESPONSE: Final = 0x48  # H
DATA_ROW: Final = 0x44  # D
EMPTY_QUERY_RESPONSE: Final = 0x49  # I
ERROR_RESPONSE: Final = 0x45  # E
FUNCTION_CALL_RESPONSE: Final = 0x56  # V
NO_DATA: Final = 0x6E  # n
NOTICE_RESPONSE: Final = 0x4E  # N
NOTIFICATION_RESPONSE: Final = 0x41  # A
PARAMETER_DESCRIPTION: Final = 0x74  # t
PARAMETER_STATUS: Final = 0x53  # S
PARSE_COMPLETE: Final = 0x31  # 1
PORTAL_SUSPENDED: Final = 0x73  # s
READY_FOR_QUERY: Final = 0x5A  # Z
ROW_DESCRIPTION: Final = 0x54  # T

# Transaction status in ReadyForQuery.
IDLE: Final = 0x49  # I
IN_TRANSACTION: Final = 0x54  # T
IN_FAILED_TRANSACTION: Final = 0x45  # E

HEADER_BYTES: Final = 5
LARGE_MESSAGE_BYTES: Final = 0x3FFFFFFF
SMALL_MESSAGE_BYTES: Final = 10000
"""Longest messages a server takes (``PQ_LARGE_MESSAGE_LIMIT`` and ``PQ_SMALL_MESSAGE_LIMIT`` in
``src/include/libpq/libpq.h``)."""
HOLD_LIMIT_BYTES: Final = 1 << 20
"""Most of one message that is held back to decide on it; longer ones stream through."""
NAME_LIMIT_BYTES: Final = 8192
"""Longest statement or portal name taken; PostgreSQL truncates names at 63 bytes."""
