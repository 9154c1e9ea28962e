"""What a client sends while it has no server connection, as far as it can be dealt with without."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.errors import ClientProtocolError, ProxyError
from proxy.postgres.client_statements import ClientStatements
from proxy.postgres.constants import (
    BIND,
    COPY_DONE,
    DESCRIBE,
    EXECUTE,
    FLUSH,
    FUNCTION_CALL,
    HOLD_LIMIT_BYTES,
    LARGE_MESSAGE_BYTES,
    NAME_LIMIT_BYTES,
    PARSE,
    QUERY,
    SMALL_MESSAGE_BYTES,
    SYNC,
    TERMINATE,
)
from proxy.postgres.reply import error_reply
from proxy.postgres.session import Session
from proxy.wire.stream import NEED_BYTES, NEED_NOTHING, NEED_SERVER, ClientStream

if TYPE_CHECKING:
    from mypy_extensions import i64

    from proxy.postgres.pool_state import PoolState
    from proxy.postgres.prepared import Statement
    from proxy.postgres.settings import Settings

READY_IDLE: Final = b"Z\x00\x00\x00\x05I"
_PARSE_COMPLETE: Final = b"1\x00\x00\x00\x04"
_LEGAL: Final = frozenset(b"BCdcfDEHFPQSX")
_LARGE: Final = frozenset(b"BdfFPQ")


class RestingStream(ClientStream):
    """The part of a client's protocol state that needs no server connection."""

    def __init__(self, shared: PoolState, startup: Settings) -> None:
        super().__init__()
        self.shared = shared
        self.session = Session(shared, startup)
        self.statements = ClientStatements()
        self.remain: i64 = 0
        """Bytes still to come of a message that is on its way, or being discarded."""
        self.skipping = False
        """Messages are discarded up to the next Sync (after ``refuse``)."""

    def demand(self, data: bytes) -> int:
        """Look at the first messages; those that need no server are answered here.

        What remains is left in ``held``.
        """
        self.to_client = b""
        while True:
            if self.skipping or self.remain > 0:
                data = self.discard(data)
            self.held = data
            if len(data) < 5:
                return NEED_BYTES
            kind = data[0]
            length = (data[1] << 24) | (data[2] << 16) | (data[3] << 8) | data[4]
            if not self.legal(kind, length):
                return NEED_NOTHING
            if kind == TERMINATE:
                self.terminated = True
                return NEED_NOTHING
            if kind == SYNC:
                self.to_client += READY_IDLE
                data = data[5:]
            elif kind == FLUSH:
                data = data[5:]
            elif length + 1 > len(data) and (
                length <= HOLD_LIMIT_BYTES or len(data) <= 3 * NAME_LIMIT_BYTES
            ):
                return NEED_BYTES
            else:
                return NEED_SERVER

    def discard(self, data: bytes) -> bytes:
        """Discard messages up to the next Sync, as a server does after an error."""
        while len(data) >= 5 or (self.remain > 0 and data):
            if self.remain > 0:
                skipped = min(int(self.remain), len(data))
                self.remain -= skipped
                data = data[skipped:]
                continue
            if not self.skipping:
                return data
            kind = data[0]
            length = int.from_bytes(data[1:5], "big")
            if kind == SYNC or kind == TERMINATE or not self.legal(kind, length):
                self.skipping = False
                return data
            self.remain = length + 1
        return data

    def errand_done(self, error: ProxyError | None) -> None:
        self.to_client = b""  # What is done for clients of PostgreSQL is not told to them.

    def refuse(self, error: ProxyError) -> None:
        """Answer the held messages up to the next ReadyForQuery with an error."""
        kind = self.held[0]
        self.to_client = error_reply(error)
        if kind == QUERY or kind == FUNCTION_CALL:
            self.to_client += READY_IDLE
            length = int.from_bytes(self.held[1:5], "big")
            self.remain = max(0, length + 1 - len(self.held))
            self.held = self.held[length + 1 :]
        else:
            self.skipping = True

    def answer_alone(self) -> bool:
        """Accept Parse of statements that are known, followed by Sync, while no server is free.

        Some drivers block their whole program until Parse is answered, and may hold the very
        connections that would have to come free (pgbench with fewer threads than clients does).
        The statements are parsed for real before they are first used.
        """
        accepted: dict[bytes, Statement] = {}
        data = self.held
        pos = 0
        while len(data) - pos >= 5:
            kind = data[pos]
            stop = pos + 1 + int.from_bytes(data[pos + 1 : pos + 5], "big")
            if kind == SYNC and accepted:
                self.statements.named.update(accepted)
                self.statements.unseen = self.statements.unseen.union(accepted)
                self.to_client = _PARSE_COMPLETE * len(accepted) + READY_IDLE
                self.held = data[stop:]
                return True
            named = data.find(b"\0", pos + 5)
            if kind != PARSE or stop > len(data) or named < 0:
                return False
            name = data[pos + 5 : named]
            statement = self.shared.statements.latest(
                data[named + 1 : stop], self.session.parse_context()
            )
            taken = name in accepted or name in self.statements.named
            if statement is None or not name or taken:
                return False
            accepted[name] = statement
            pos = stop
        return False

    def legal(self, kind: int, length: int) -> bool:
        """Check a message's code and length; sets ``error`` if the session cannot go on."""
        if 4 < length <= SMALL_MESSAGE_BYTES and (
            kind == QUERY or kind == BIND or kind == EXECUTE or kind == PARSE or kind == DESCRIBE
        ):
            return self.error is None  # Nearly always, and cheaper than looking into sets.
        most = LARGE_MESSAGE_BYTES if kind in _LARGE else SMALL_MESSAGE_BYTES
        if length < 4 or length > most:
            self.error = ClientProtocolError(f"invalid message length {length}")
        elif kind not in _LEGAL:
            self.error = ClientProtocolError(f"invalid frontend message type {kind}")
        elif (kind == SYNC or kind == FLUSH or kind == COPY_DONE) and length != 4:
            self.error = ClientProtocolError("invalid message format")
        return self.error is None
