"""Prepared statements of the binary protocol, apart from the server connection that has them.

A client knows a statement by the number we gave it. What it stands for is a ``Statement``: the text
and everything it was prepared under. Each server connection prepares a statement when it is first
needed there, under whatever number the server gives, and keeps the most recently used ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from proxy.mysql.effects import Effects
    from proxy.mysql.settings import Settings


class Statement:
    """A text, with the settings and the schema it was prepared under. Compare with ``is``."""

    __slots__ = ("__weakref__", "schema", "settings", "sql")

    def __init__(self, sql: bytes, settings: Settings, schema: bytes) -> None:
        self.sql = sql
        self.settings = settings
        self.schema = schema


class StatementRegistry:
    """The statements of one pool."""

    def __init__(self) -> None:
        self._table: WeakValueDictionary[tuple[bytes, int, bytes], Statement] = (
            WeakValueDictionary()
        )

    def statement(self, sql: bytes, settings: Settings, schema: bytes) -> Statement:
        """Return the one object for this text under these settings and this schema."""
        key = (sql, id(settings), schema)
        found = self._table.get(key)
        if found is None:
            found = Statement(sql, settings, schema)
            self._table[key] = found
        return found


class ServerStatement:
    """A statement as one server connection has it."""

    __slots__ = ("number", "types")

    def __init__(self, number: int) -> None:
        self.number = number
        """The id that the server gave it."""
        self.types: bytes | None = None
        """Parameter types it was last executed with there."""


class ServerStatements:
    """The statements that one server connection has prepared, least recently used first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: dict[Statement, ServerStatement] = {}

    def __len__(self) -> int:
        return len(self._held)

    def find(self, statement: Statement) -> ServerStatement | None:
        """Return a statement if it is prepared here, and count that as a use."""
        found = self._held.pop(statement, None)
        if found is not None:
            self._held[statement] = found
        return found

    def add(self, statement: Statement, number: int) -> list[int]:
        """Note a statement that was prepared; return the ids that are to be closed for it."""
        surplus = []
        old = self._held.pop(statement, None)
        if old is not None:
            surplus.append(old.number)
        while len(self._held) >= max(1, self._most):
            oldest = next(iter(self._held))
            surplus.append(self._held.pop(oldest).number)
        self._held[statement] = ServerStatement(number)
        return surplus

    def drop(self, statement: Statement) -> int | None:
        """Forget a statement; return the id that is to be closed."""
        found = self._held.pop(statement, None)
        return None if found is None else found.number

    def clear(self) -> None:
        """Forget all: the server has dropped them."""
        self._held.clear()


class ClientStatement:
    """A statement as one session has it."""

    __slots__ = ("cursor", "effects", "number", "parameters", "statement", "types")

    def __init__(self, number: int, statement: Statement, effects: Effects | None) -> None:
        self.number = number
        """The id that the client knows it by."""
        self.statement = statement
        self.effects = effects
        """What executing it may do to the session."""
        self.parameters = 0
        self.types: bytes | None = None
        """Parameter types that the client last sent, as COM_STMT_EXECUTE encodes them."""
        self.cursor = False
        """The server connection holds an open cursor."""


class Preparation:
    """A COM_STMT_PREPARE under way."""

    __slots__ = ("client_statement", "ours", "server_number", "silent")

    def __init__(self, client_statement: ClientStatement, *, ours: bool) -> None:
        self.client_statement = client_statement
        self.server_number = 0
        """The id that the server gave it."""
        self.silent = False
        """The client expects no reply to what it sent."""
        self.ours = ours
        """The client has prepared it long ago: only this server connection has not."""
