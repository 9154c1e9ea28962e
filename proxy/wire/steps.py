"""Commands that a conversation yields, and what its driver answers.

A conversation (start-up, login, fetching facts) is a generator that reads top to bottom like the
protocol's specification. It yields one of these commands and is resumed with the answer noted
below; it ends with ``return value``. Errors are raised into it at the yield, or out of it as a
``ProxyError``. ``proxy.net.conversation`` runs conversations over a transport; tests run them over
lists of bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Send:
    """Send bytes to the peer. Answer: ``None``."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Read:
    """Read exactly ``size_bytes`` from the peer. Answer: ``bytes``.

    Raises ``EOFError`` into the conversation if the peer closes before the first of them, a
    ``ProtocolError`` if it closes in the middle.
    """

    size_bytes: int


@dataclass(frozen=True, slots=True)
class TlsFacts:
    """What a TLS handshake established."""

    version: str
    cipher: str
    peer_certificate: bytes
    """DER of the peer's certificate; empty if it showed none."""
    own_certificate: bytes
    """DER of the certificate we showed; empty if none."""
    alpn: str = ""
    """Application protocol agreed on by ALPN; empty if none was."""


@dataclass(frozen=True, slots=True)
class StartTls:
    """Upgrade the connection to TLS (as server or client, as the driver was set up).

    Answer: ``TlsFacts``. Bytes that arrived in clear before the handshake must already have been
    read: the driver raises ``ProtocolError`` if any are left (CVE-2021-23214, CVE-2021-23222).
    """

    alpn: tuple[str, ...] = ()
    begun: bool = False
    """The peer begins without being told to: what is left unread is of the handshake."""


@dataclass(frozen=True, slots=True)
class Fetch:
    """Fetch the secret for a user and database. Answer: engine-specific, see the conversation."""

    user: str
    database: str


@dataclass(frozen=True, slots=True)
class FetchTarget:
    """Ask what a server of the target says of itself. Answer: ``ServerSession.profile`` of one."""


@dataclass(frozen=True, slots=True)
class InThread:
    """Do something that takes long beside the event loop. Answer: what it returns."""

    work: Callable[[], Any]


Command = Send | Read | StartTls | Fetch | FetchTarget | InThread
Conversation = Generator[Command, Any, T]
"""A generator of commands that returns ``T``."""
