"""What the supervisor and a relay worker say to each other over a Unix socket.

A message is four bytes of length (big-endian, of what follows) and a JSON object: the name of the
class under ``type`` and its fields. Some come with a file descriptor, which travels beside the
bytes (SCM_RIGHTS) in the order of the messages. Sans-I/O; ``channel.py`` moves the bytes. Both ends
are always of the same version, so an unknown message is an error and there are no optional fields.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar, Final

from proxy.errors import ProtocolError

LENGTH_BYTES: Final = 4
MAX_MESSAGE_BYTES: Final = 64 << 20
"""A snapshot of 10,000 pools takes about 20 MB."""

Document = dict[str, Any]
"""Whatever JSON can say."""


@dataclass(frozen=True, slots=True)
class Message:
    """Base of all messages; ``DESCRIPTORS`` of them come along."""

    DESCRIPTORS: ClassVar[int] = 0


# From the supervisor to a worker.


@dataclass(frozen=True, slots=True)
class Configure(Message):
    """Run with this configuration; the first one starts the worker."""

    serial: int
    text: str = field(repr=False)
    """The whole configuration as TOML, with its secrets."""


@dataclass(frozen=True, slots=True)
class NewClient(Message):
    """Serve a client that has just been accepted."""

    DESCRIPTORS: ClassVar[int] = 1
    endpoint: int
    """Position of its endpoint among all endpoints of the configuration."""


@dataclass(frozen=True, slots=True)
class Quota(Message):
    """Use at most so many server connections of a proxy's target; answered with ``Usage``."""

    proxy: str
    serial: int
    slots: int
    budget: int
    """Of all workers together; what percentages refer to."""
    gently: bool
    """Only give up what nobody uses now; ``Usage.quota`` says what is kept."""
    wanted: list[Any]
    """Pool keys that others wait for, most wanted first: idle connections of these may be moved."""


@dataclass(frozen=True, slots=True)
class Adopt(Message):
    """Take over a server connection that another worker has given up, and the quota for it.

    Answered with ``Usage``.
    """

    DESCRIPTORS: ClassVar[int] = 1
    proxy: str
    serial: int
    slots: int
    pool: list[Any]
    facts: Document


@dataclass(frozen=True, slots=True)
class CancelSession(Message):
    """Cancel what a session runs if the secret or the user is right; goes both ways."""

    proxy: str
    number: int
    secret: str
    """In hexadecimal."""
    user: str
    """Whose sessions may be cancelled without it; empty for nobody's."""
    whole: bool
    """End the session, too."""


@dataclass(frozen=True, slots=True)
class VacateDatabase(Message):
    """A client wants a database without connections; goes both ways."""

    proxy: str
    database: str


@dataclass(frozen=True, slots=True)
class TakeSnapshot(Message):
    """Say what you look like; answered with ``SnapshotTaken``."""

    serial: int


@dataclass(frozen=True, slots=True)
class SecretFetched(Message):
    """What a source outside gave, or why it gave nothing."""

    serial: int
    secret: str = field(repr=False)
    username: str | None
    expires_at: float | None
    """Monotonic time, which all processes of a machine share."""
    error: str


@dataclass(frozen=True, slots=True)
class ReloadCertificates(Message):
    """The certificate files have changed."""


@dataclass(frozen=True, slots=True)
class Drain(Message):
    """Finish transactions, close everything and end, within the grace period."""

    grace_s: float


# From a worker to the supervisor.


@dataclass(frozen=True, slots=True)
class Configured(Message):
    """The configuration with this serial is in force, unless ``error`` says why not."""

    serial: int
    error: str


@dataclass(frozen=True, slots=True)
class Usage(Message):
    """How a worker uses its quota of a proxy's target, and how many clients it has."""

    proxy: str
    serial: int
    """Of the latest ``Quota`` or ``Adopt`` that it knows."""
    quota: int
    used: int
    """Slots: open connections, attempts and those still closing."""
    idle: int
    """Connections that nobody has wanted for a while."""
    coming: int
    """Of the used ones, those that will be of use to who waits: being opened, or closing."""
    waiting: int
    """Clients without a server connection, and connections missing from the minimum."""
    wanted: list[Any]
    """Keys of pools with clients that wait."""
    clients: int
    """Client connections open now, logged in or not."""
    accepted: int
    """``NewClient`` messages taken so far."""


@dataclass(frozen=True, slots=True)
class BudgetLearned(Message):
    """The target has said how many connections it allows."""

    proxy: str
    budget: int


@dataclass(frozen=True, slots=True)
class FetchSecret(Message):
    """Fetch a secret from a source outside; ``again``: what was given before is of no use now."""

    serial: int
    reference: str
    user: str
    again: bool


@dataclass(frozen=True, slots=True)
class Opened(Message):
    """A server connection has logged in. The supervisor keeps a duplicate of its socket, to see
    the server's process end should the worker die."""

    DESCRIPTORS: ClassVar[int] = 1
    proxy: str
    connection: int
    """The worker's number for it, never used twice."""
    cancel_request: str
    """In hexadecimal."""
    tls: bool
    user: str
    """Who it is logged in as."""


@dataclass(frozen=True, slots=True)
class Closed(Message):
    """A server connection is gone on both sides."""

    connection: int


@dataclass(frozen=True, slots=True)
class GivenUp(Message):
    """A server connection is left to whoever can use it; its slot goes with it.

    ``usage`` is what is true once it is gone: a ``Usage`` as a document.
    """

    proxy: str
    connection: int
    pool: list[Any]
    """Key of its pool."""
    facts: Document
    usage: Document


@dataclass(frozen=True, slots=True)
class SnapshotTaken(Message):
    """A ``metrics.snapshot.Snapshot`` as a document."""

    serial: int
    snapshot: Document


_KINDS: Final[dict[str, type[Message]]] = {kind.__name__: kind for kind in Message.__subclasses__()}


def encode(message: Message) -> bytes:
    """Encode a message with its length."""
    document = {"type": type(message).__name__, **asdict(message)}
    data = json.dumps(document, separators=(",", ":")).encode()
    return len(data).to_bytes(LENGTH_BYTES, "big") + data


def decode(data: bytes) -> Message:
    """Decode what follows the length. Raises ``ProtocolError``."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ProtocolError("control message is not JSON") from error
    kind = _KINDS.get(document.pop("type", "")) if isinstance(document, dict) else None
    if kind is None:
        raise ProtocolError("control message of unknown type")
    if document.keys() != {found.name for found in fields(kind)}:
        raise ProtocolError(f"control message {kind.__name__} with other fields")
    return kind(**document)


class Decoder:
    """Cuts a stream of bytes into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """Give the messages that are complete now. Raises ``ProtocolError``."""
        self._buffer += data
        found: list[Message] = []
        start = 0
        while len(self._buffer) - start >= LENGTH_BYTES:
            body = start + LENGTH_BYTES
            length = int.from_bytes(self._buffer[start:body], "big")
            if length > MAX_MESSAGE_BYTES:
                raise ProtocolError("control message too long")
            if len(self._buffer) < body + length:
                break
            found.append(decode(bytes(self._buffer[body : body + length])))
            start = body + length
        del self._buffer[:start]
        return found
