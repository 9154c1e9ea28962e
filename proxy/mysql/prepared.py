"""Prepared statements of the binary protocol, apart from sessions and server connections.

A client knows a statement by the number we gave it (``client_statements.py``). What it stands for
is a ``Statement``: the text and everything it was prepared under. Each server connection prepares a
statement when it is first needed there, under whatever number the server gives, and keeps the most
recently used ones (``server_statements.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

if TYPE_CHECKING:
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
