"""The prepared statements of one session, and the preparing of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.mysql.effects import Effects
    from proxy.mysql.hidden import HiddenEffects
    from proxy.mysql.prepared import Statement


class ClientStatement:
    """A statement as one session has it."""

    __slots__ = ("cursor", "effects", "hidden", "number", "parameters", "statement", "types")

    def __init__(
        self,
        number: int,
        statement: Statement,
        effects: Effects | None,
        hidden: HiddenEffects | None,
    ) -> None:
        self.number = number
        """The id that the client knows it by."""
        self.statement = statement
        self.effects = effects
        """What executing it may do to the session."""
        self.hidden = hidden
        """What stored programs did when ``effects`` were found."""
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
