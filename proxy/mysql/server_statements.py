"""The statements prepared on one server connection, under the server's numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.mysql.prepared import Statement


class ServerStatement:
    """A statement as one server connection has it."""

    __slots__ = ("encoded", "number", "types")

    def __init__(self, number: int) -> None:
        self.number = number
        """The id that the server gave it."""
        self.encoded = number.to_bytes(4, "little")
        """The id, as commands have it."""
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
