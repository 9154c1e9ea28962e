"""What a client asks of the proxy itself rather than of a server (``ClientStream.errand``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Kill:
    """End another session, or what it runs."""

    number: int
    """Of the session, as ``CONNECTION_ID()`` tells it."""
    query_only: bool


@dataclass(frozen=True, slots=True)
class LogInAgain:
    """Begin a new session on the same connection, perhaps as another user."""

    message: bytes
    facts: Any
    """``Login.facts`` of the session that ends."""
