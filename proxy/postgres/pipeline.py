"""The replies a server connection owes, in order.

PostgreSQL answers messages strictly in the order they were sent, so one queue says what each reply
belongs to: to the client's own message (forward it) or to one that the proxy put in between
(swallow it). Two rules of the protocol make it more than a queue:

- After an error in an extended-protocol message the server discards everything up to the next Sync
  (docs: "Extended Query"). ``fail`` drops the entries that will never be answered; if no Sync was
  sent yet, ``skipping`` drops what is still to come.
- During COPY IN the server ignores Sync and Flush (docs: "COPY Operations"). ``copy_in`` takes back
  the Syncs that were sent too early, up to the CopyDone or CopyFail that ends the copy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from proxy.postgres.prepared import Preparation, Statement

NOTHING: Final = 0
# Answered by ReadyForQuery.
QUERY: Final = 1
SYNC: Final = 2
FUNCTION_CALL: Final = 3
# Answered by a message of their own.
PARSE: Final = 4
BIND: Final = 5
DESCRIBE: Final = 6
EXECUTE: Final = 7
CLOSE: Final = 8
# Not answered: marks CopyDone and CopyFail.
COPY_END: Final = 9
# Ours: replies are swallowed.
OWN: Final = 16
OWN_PARSE: Final = 16
OWN_DESCRIBE: Final = 17
OWN_CLOSE: Final = 18
OWN_QUERY: Final = 19
OWN_SYNC: Final = 20
OWN_ABORT: Final = 21
"""Answered by an error, always."""


# What a question of ours is for.
REPLAY: Final = 1
SETTLE: Final = 2
CLEAN: Final = 3
PROBE: Final = 4
CATALOGUE: Final = 5


class Question:
    """A simple query of ours: its reply is kept from the client."""

    __slots__ = ("error", "purpose", "rows")

    def __init__(self, purpose: int) -> None:
        self.purpose = purpose
        self.rows: list[bytes] = []
        """DataRow payloads."""
        self.error = b""
        """ErrorResponse payload, if the query failed."""


class Reply:
    """One owed reply: its kind and what it is about."""

    __slots__ = ("kind", "preparation", "question")

    def __init__(
        self, kind: int, preparation: Preparation | None = None, question: Question | None = None
    ) -> None:
        self.kind = kind
        self.preparation = preparation
        """What is being prepared (``PARSE``, ``OWN_PARSE``, ``OWN_DESCRIBE``)."""
        self.question = question
        """What is being asked (``OWN_QUERY``)."""


class UnnamedReply(Reply):
    """A reply to what changes the client's unnamed statement: Parse, Close or a simple query."""

    __slots__ = ("before",)

    def __init__(self, kind: int, before: Statement | None) -> None:
        super().__init__(kind)
        self.before = before
        """The unnamed statement that comes back if the server discards the message."""


QUERY_REPLY: Final = Reply(QUERY)
SYNC_REPLY: Final = Reply(SYNC)
FUNCTION_CALL_REPLY: Final = Reply(FUNCTION_CALL)
PARSE_REPLY: Final = Reply(PARSE)
BIND_REPLY: Final = Reply(BIND)
DESCRIBE_REPLY: Final = Reply(DESCRIBE)
EXECUTE_REPLY: Final = Reply(EXECUTE)
CLOSE_REPLY: Final = Reply(CLOSE)
COPY_END_REPLY: Final = Reply(COPY_END)
OWN_CLOSE_REPLY: Final = Reply(OWN_CLOSE)
OWN_PARSE_REPLY: Final = Reply(OWN_PARSE)
OWN_SYNC_REPLY: Final = Reply(OWN_SYNC)
OWN_ABORT_REPLY: Final = Reply(OWN_ABORT)


def _ends_with_ready_for_query(kind: int) -> bool:
    return kind <= FUNCTION_CALL or kind == OWN_QUERY or kind == OWN_SYNC


class Pipeline:
    """Queue of owed replies of one server connection."""

    __slots__ = ("copying", "head", "owed", "replies", "skipping", "uncertain")

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.head = 0
        self.owed = 0
        """ReadyForQuery messages still to come."""
        self.skipping = False
        """The server discards messages until it sees a Sync."""
        self.copying = False
        """COPY IN runs and its end has not been sent."""
        self.uncertain = False
        """How many ReadyForQuery the server owes cannot be known; do not reuse it."""

    def is_empty(self) -> bool:
        """Whether no reply is owed."""
        return self.head == len(self.replies)

    def kind(self) -> int:
        """Kind of the next owed reply, ``NOTHING`` if none is owed."""
        if self.head < len(self.replies):
            return self.replies[self.head].kind
        return NOTHING

    def pending(self) -> list[Reply]:
        """Every owed reply, in order."""
        return self.replies[self.head :]

    def awaits_sync(self) -> bool:
        """Whether the last reply owed is one that the server may keep to itself until a Sync."""
        if self.is_empty():
            return False
        kind = self.replies[-1].kind
        return kind != COPY_END and not _ends_with_ready_for_query(kind)

    def unnamed_is_unsure(self) -> bool:
        """Whether a Parse of the unnamed statement may yet be discarded, of an earlier batch.

        One of the batch under way needs no thought: what follows it is discarded with it.
        """
        if self.owed == 0:
            return False
        earlier = False
        for index in range(len(self.replies) - 1, self.head - 1, -1):
            reply = self.replies[index]
            if isinstance(reply, UnnamedReply):
                return earlier
            earlier = earlier or _ends_with_ready_for_query(reply.kind)
        return False

    def has_backlog(self) -> bool:
        """Whether more than one ReadyForQuery is owed to the client."""
        found = 0
        for index in range(self.head, len(self.replies)):
            kind = self.replies[index].kind
            if kind == QUERY or kind == SYNC or kind == FUNCTION_CALL:
                found += 1
                if found > 1:
                    return True
        return False

    def push(self, reply: Reply) -> None:
        """Note a message sent to the server."""
        kind = reply.kind
        if kind == COPY_END:
            self.copying = False
        if self.skipping:
            if kind != SYNC and kind != OWN_SYNC:
                return
            self.skipping = False
        if kind == SYNC and self.copying:
            return
        if kind == COPY_END and self.head == len(self.replies):
            return
        if _ends_with_ready_for_query(kind):
            self.owed += 1
        self.replies.append(reply)

    def pop(self) -> Reply:
        """Take the next owed reply off: it has been answered."""
        reply = self.replies[self.head]
        self.head += 1
        if _ends_with_ready_for_query(reply.kind):
            self.owed -= 1
        while self.head < len(self.replies) and self.replies[self.head].kind == COPY_END:
            self.head += 1
        if self.head == len(self.replies):
            self.replies.clear()
            self.head = 0
        elif self.head > 512:
            del self.replies[: self.head]
            self.head = 0
        return reply

    def copy_in(self) -> bool:
        """Note CopyInResponse: Syncs before the copy's end are ignored by the server.

        Returns whether a Sync that counts has been sent.
        """
        kept: list[Reply] = self.replies[self.head : self.head + 1]
        ended = False
        synced = False
        for reply in self.replies[self.head + 1 :]:
            if reply.kind == SYNC and not ended:
                self.owed -= 1
                self.uncertain = True
                continue
            if reply.kind == COPY_END:
                ended = True
            elif reply.kind == SYNC:
                synced = True
            kept.append(reply)
        self.replies = kept
        self.head = 0
        self.copying = not ended
        return synced

    def copied(self) -> None:
        """Note that a COPY IN command completed, so that ignored Syncs are accounted for."""
        self.uncertain = False

    def fail(self) -> list[Reply]:
        """Note ErrorResponse: return the entries that will never be answered.

        An error in a simple query or function call drops nothing: ReadyForQuery follows. In the
        extended protocol everything up to the next Sync is dropped.
        """
        self.copying = False
        kind = self.kind()
        if kind == NOTHING or _ends_with_ready_for_query(kind):
            return []
        dropped: list[Reply] = []
        while self.head < len(self.replies):
            reply = self.replies[self.head]
            if reply.kind == SYNC or reply.kind == OWN_SYNC:
                return dropped
            dropped.append(reply)
            self.pop()
        self.skipping = True
        return dropped
