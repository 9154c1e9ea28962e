"""The statements prepared on one server connection, under names of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.postgres import pipeline as pl
from proxy.postgres.prepared import SERVER_NAME_PREFIX, Statement, close_message

if TYPE_CHECKING:
    from proxy.postgres.pipeline import Pipeline


class ServerStatements:
    """A bounded collection, least recently used first."""

    def __init__(self, maximum: int) -> None:
        self.maximum = maximum
        self.names: dict[Statement, bytes] = {}
        self.obsolete: list[bytes] = []
        """Names to close when something is sent next."""
        self._count = 0

    def new_name(self) -> bytes:
        """A statement name not used on this connection before."""
        self._count += 1
        return SERVER_NAME_PREFIX + str(self._count).encode()

    def register(self, statement: Statement, name: bytes) -> None:
        """Note a statement prepared here, and which ones must go for it."""
        self.names[statement] = name
        while len(self.names) > self.maximum:
            oldest = next(iter(self.names))
            self.obsolete.append(self.names.pop(oldest))

    def name_of(self, statement: Statement) -> bytes | None:
        """Name here of a statement, which becomes the most recently used one."""
        name = self.names.get(statement)
        if name is not None and len(self.names) * 2 > self.maximum:
            del self.names[statement]
            self.names[statement] = name
        return name

    def forget(self, statement: Statement) -> None:
        """The server has refused to prepare a statement."""
        self.names.pop(statement, None)

    def drop(self, statement: Statement) -> None:
        """Close a statement that is not what it was taken for."""
        name = self.names.pop(statement, None)
        if name is not None:
            self.obsolete.append(name)

    def adopt(self, known: Statement, fresh: Statement) -> None:
        """Use the fresh copy for the known statement that it turned out to be."""
        name = self.names.pop(fresh, None)
        if name is not None:
            self.drop(known)
            self.names[known] = name

    def clear(self) -> None:
        """The server has dropped them all."""
        self.names.clear()
        self.obsolete.clear()

    def close_obsolete(self, pipeline: Pipeline) -> bytes:
        """Close messages for names no longer wanted, to go ahead of whatever is sent next."""
        messages: list[bytes] = []
        for name in self.obsolete:
            messages.append(close_message(name))
            pipeline.push(pl.OWN_CLOSE_REPLY)
        self.obsolete = []
        return b"".join(messages)
