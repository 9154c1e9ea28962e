"""Identity of prepared statements across sessions and server connections.

A client's statement name means nothing on a server connection that it shares with others, so every
statement gets a server-side name that is unique on its connection. What two sessions prepared is
the *same* statement when text, parameter types, the described result and the settings that the text
was read under are the same: then one server-side copy serves both. A schema change makes the next
Parse a different statement, while sessions that prepared the old one keep being told "cached plan
must not change result type", as on a connection of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from collections.abc import Hashable

    from proxy.postgres.effects import Effects

SERVER_NAME_PREFIX: Final = b"tidegate_"
STALE_NAME: Final = b"tidegate_stale: cached plan must not change result type"
"""No statement has this name: binding it fails on the server as binding a stale plan would."""


def unguessed(name: bytes) -> bytes:
    """Name under which a client's name that we know nothing of goes to the server.

    Names like ours are taken out of our namespace: they would reach other sessions' statements.
    """
    return b"_" + name if name.startswith(SERVER_NAME_PREFIX) else name


class Statement:
    """What a client prepared: ``definition`` is Parse without the name (text, parameter types)."""

    __slots__ = ("__weakref__", "context", "definition", "description", "effects")

    def __init__(
        self, definition: bytes, effects: Effects | None, context: Hashable = None
    ) -> None:
        self.definition = definition
        self.effects = effects
        self.context = context
        """Settings under which its text was read: they decide what ``'1/2/2020'::date`` is."""
        self.description: bytes | None = None
        """Parameter and result types as first described; ``None`` until the server said."""


UNKNOWN: Final = Statement(b"", None)
"""Stands for an unnamed statement on a server connection that may be anybody's."""


class Preparation:
    """A Parse under way on one server connection."""

    __slots__ = ("client_name", "parameters", "server_name", "statement")

    def __init__(self, statement: Statement, client_name: bytes, server_name: bytes) -> None:
        self.statement = statement
        self.client_name = client_name
        self.server_name = server_name
        self.parameters = b""
        """ParameterDescription, which comes ahead of the result's description."""


class StatementRegistry:
    """Every statement that some session or server connection of one pool knows."""

    def __init__(self) -> None:
        self._statements: WeakValueDictionary[tuple[bytes, bytes, Hashable], Statement] = (
            WeakValueDictionary()
        )
        self._latest: WeakValueDictionary[tuple[bytes, Hashable], Statement] = WeakValueDictionary()

    def __len__(self) -> int:
        return len(self._statements)

    def intern(self, statement: Statement) -> Statement:
        """Return the statement that is the same as this described one, or this one."""
        assert statement.description is not None
        key = (statement.definition, statement.description, statement.context)
        known = self._statements.setdefault(key, statement)
        self._latest[(statement.definition, statement.context)] = known
        return known

    def latest(self, definition: bytes, context: Hashable = None) -> Statement | None:
        """Return the statement last described for this definition, if anybody still has it."""
        return self._latest.get((definition, context))


def result_shape(row_description: bytes) -> bytes:
    """Reduce a RowDescription payload to what PostgreSQL compares when it revalidates a plan.

    Names, type OIDs, type sizes and type modifiers count; table OIDs and column numbers do not
    (``equalRowTypes`` in ``src/backend/access/common/tupdesc.c``).
    """
    shape = bytearray(row_description[:2])
    position = 2
    while position < len(row_description):
        end = row_description.find(0, position) + 1
        if end == 0:
            return row_description
        shape += row_description[position:end]
        shape += row_description[end + 6 : end + 16]
        position = end + 18
    return bytes(shape)


def parameter_part(description: bytes) -> bytes:
    """The ParameterDescription payload at the beginning of a statement's description."""
    return description[: 2 + 4 * int.from_bytes(description[:2], "big")]


def parse_message(name: bytes, definition: bytes) -> bytes:
    """Encode Parse."""
    length = len(name) + 5 + len(definition)
    return b"P" + length.to_bytes(4, "big") + name + b"\0" + definition


def describe_message(name: bytes) -> bytes:
    """Encode Describe of a statement."""
    return b"D" + (len(name) + 6).to_bytes(4, "big") + b"S" + name + b"\0"


def close_message(name: bytes) -> bytes:
    """Encode Close of a statement."""
    return b"C" + (len(name) + 6).to_bytes(4, "big") + b"S" + name + b"\0"
