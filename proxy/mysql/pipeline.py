"""The replies a server connection owes, in order.

A server answers commands strictly in the order they were sent, so one queue says what each reply
belongs to: to the client's own command (pass it on) or to one that the proxy put ahead of it or
behind it (keep it). A client has one command at a time under way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.mysql.constants import COM_QUERY
from proxy.mysql.lenenc import packet

if TYPE_CHECKING:
    from proxy.mysql.client_statements import Preparation
    from proxy.mysql.hidden import Catalogue

# What a reply looks like.
NOTHING: Final = 0
RESULT: Final = 1
"""OK, ERR, or result sets."""
PREPARED: Final = 2
"""Of COM_STMT_PREPARE: OK of its own, then definitions of parameters and columns."""
DEFINITIONS: Final = 3
"""Of COM_FIELD_LIST: definitions of columns without a count."""
ROWS: Final = 4
"""Of COM_STMT_FETCH: rows without definitions."""
TEXT: Final = 5
"""Of COM_STATISTICS: one packet of text."""

# What a question of ours is for.
REPLAY: Final = 1
SCHEMA: Final = 2
WARNINGS: Final = 3
INSERT_ID: Final = 4
REPORT: Final = 5
VARIABLES: Final = 6
USER_VARIABLES: Final = 7
CLEAN: Final = 8
PROBE: Final = 9
AFTER_RESET: Final = 10
RESET: Final = 11
LOCKS: Final = 12
CATALOGUE: Final = 13

NO_NAMES: Final[frozenset[bytes]] = frozenset()
NO_VARIABLES: Final[frozenset[str]] = frozenset()
"""Shared by idle sessions, of which there are many: an empty set is 216 bytes."""
_QUERY_INTERRUPTED: Final = 1317
MOST_ANSWER_BYTES: Final = 1 << 20
"""Most that is kept of the answer to a question of ours."""


class Question:
    """A command of ours: its reply is kept from the client."""

    __slots__ = ("error", "payloads", "purpose", "size", "too_long")

    def __init__(self, purpose: int) -> None:
        self.purpose = purpose
        self.payloads: list[bytes] = []
        """Payloads of the whole reply."""
        self.size = 0
        self.too_long = False
        """Part of the reply is missing from ``payloads``."""
        self.error = b""
        """Payload of the ERR packet it ended with."""

    def interrupted(self) -> bool:
        """Whether a KILL QUERY ended it."""
        return int.from_bytes(self.error[1:3], "little") == _QUERY_INTERRUPTED

    def keep(self, payload: bytes) -> None:
        """Keep one packet of the reply, if there is room."""
        self.size += len(payload)
        if self.size > MOST_ANSWER_BYTES:
            self.too_long = True
        else:
            self.payloads.append(payload)


class Due:
    """What must be asked of the server before its connection is left."""

    __slots__ = (
        "attempts",
        "catalogue",
        "insert_id",
        "locks",
        "report",
        "user_variables",
        "variables",
        "warnings",
    )

    def __init__(self) -> None:
        self.variables: frozenset[str] = NO_VARIABLES
        """System variables that may have changed."""
        self.user_variables: frozenset[bytes] = NO_NAMES
        """User variables that may have been written."""
        self.insert_id = False
        self.warnings = False
        self.report = False
        """Changes that the server reports only when it has another to report."""
        self.locks = False
        """Whether named locks are still held."""
        self.attempts = 0
        """How often SHOW WARNINGS failed."""
        self.catalogue: Catalogue | None = None
        """What stored programs do, after the session has redefined some."""


class Reply:
    """One reply that the server owes."""

    __slots__ = ("cursor", "kind", "preparation", "question")

    def __init__(
        self,
        kind: int,
        question: Question | None = None,
        preparation: Preparation | None = None,
        cursor: bool = False,
    ) -> None:
        self.kind = kind
        self.question = question
        """``None`` if the client is owed it."""
        self.preparation = preparation
        self.cursor = cursor
        """A cursor was asked for: the result set may come without rows."""


RESULT_REPLY: Final = Reply(RESULT)


def query(sql: bytes, *, attributes: bool) -> bytes:
    """Encode COM_QUERY. ``attributes``: whether CLIENT_QUERY_ATTRIBUTES is in force."""
    head = bytes((COM_QUERY, 0, 1)) if attributes else bytes((COM_QUERY,))
    return packet(head + sql, 0)


def command(code: int, payload: bytes = b"") -> bytes:
    """Encode any other command."""
    return packet(bytes((code,)) + payload, 0)
