"""What is sent to bring an abandoned server connection back to a clean, idle state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.postgres import pipeline as pl
from proxy.postgres.constants import IDLE
from proxy.postgres.pipeline import Question, Reply

if TYPE_CHECKING:
    from proxy.postgres.server_stream import PostgresServerStream

_ROLLBACK: Final = b"Q\x00\x00\x00\x0dROLLBACK\x00"
_DISCARD: Final = b"Q\x00\x00\x00\x10DISCARD ALL\x00"
_EMPTY: Final = b"Q\x00\x00\x00\x05\x00"
SYNC_MESSAGE: Final = b"S\x00\x00\x00\x04"
_ABORT: Final = b"D\x00\x00\x00\x1bStidegate: client gone\x00"
"""Describe of a statement that does not exist."""
_COPY_FAIL: Final = b"f\x00\x00\x00\x10client gone\x00"


def probe(stream: PostgresServerStream) -> bytes:
    """An empty query, whose reply is ours."""
    stream.pipeline.push(Reply(pl.OWN_QUERY, None, Question(pl.PROBE)))
    return _EMPTY


def unstick(stream: PostgresServerStream) -> bytes:
    """End a COPY and send the Sync that the client did not send.

    That Sync would commit what was executed outside a transaction block, and the client has not
    asked for it: without it the server rolls back when a client leaves. An error does so, too.
    """
    message = b""
    if stream.pipeline.copying:
        stream.pipeline.push(pl.COPY_END_REPLY)
        message = _COPY_FAIL
    if stream.unsynced or stream.pipeline.skipping or stream.pipeline.awaits_sync():
        if stream.executed and not message and not stream.pipeline.skipping:
            stream.pipeline.push(pl.OWN_ABORT_REPLY)
            message = _ABORT
        stream.unsynced = False
        stream.executed = False
        stream.pipeline.push(pl.OWN_SYNC_REPLY)
        message += SYNC_MESSAGE
    return message


def recover(stream: PostgresServerStream) -> bytes:
    """Roll back, then discard state; ``b""`` when the connection is clean.

    Two steps, because DISCARD ALL cannot run in a transaction.
    """
    if stream.status != IDLE:
        stream.pipeline.push(Reply(pl.OWN_QUERY, None, Question(pl.CLEAN)))
        return _ROLLBACK
    if stream.dirty:
        stream.dirty = False
        stream.settings = stream.shared.discarded
        stream.pipeline.push(Reply(pl.OWN_QUERY, None, Question(pl.CLEAN)))
        return _DISCARD
    return b""
