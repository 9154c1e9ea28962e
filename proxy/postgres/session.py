"""What a client session carries from one server connection to the next, and what pins it.

Settings are carried: ``replay`` turns a connection's settings into the session's. Everything else
that statements may leave behind is collected in ``Changes`` and, at the end of the transaction,
asked of the server (``settle``); what exists there pins the session.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.errors import ServerRefused
from proxy.postgres import pipeline as pl
from proxy.postgres.changes import (
    SESSION_POOLING,
    Changes,
    lasting,
    session_settings,
    survives_discard,
)
from proxy.postgres.effects import PREPARED_STATEMENT, REASONS, Effects
from proxy.postgres.hidden import CATALOGUE_QUERY
from proxy.postgres.messages import parameter_status, parse_error_fields
from proxy.postgres.pipeline import Question
from proxy.postgres.settings import Settings, replay_query, set_query

if TYPE_CHECKING:
    from collections.abc import Hashable

    from proxy.postgres.pool_state import PoolState
    from proxy.postgres.server_stream import PostgresServerStream

_DISCARD_SEQUENCES: Final = b"DISCARD SEQUENCES"


class Session:
    """Settings, possible changes and pins of one client session."""

    def __init__(self, shared: PoolState, startup: Settings) -> None:
        self.shared = shared
        self.startup = startup
        """Settings the session starts with, and goes back to with RESET ALL."""
        self.settings = startup
        """Settings the session has now."""
        self.reported: dict[str, str] | None = None
        """Parameter statuses as the client knows them; ``None`` before it was greeted."""
        self.changes: Changes | None = None
        """What statements may have changed since the session was last checked."""
        self.settling: Changes | None = None
        """What the server is being asked about."""
        self.execute_effects: Effects | None = None
        """What SQL EXECUTE may do, from what SQL PREPARE prepared."""
        self.pins = 0
        """Kinds of state that exist on the server connection (``effects.TEMPORARY_TABLE`` ...)."""
        self.permanent = ""
        """Reason to stay pinned whatever the server says."""

    def pin_reason(self) -> str:
        """Why the session keeps its server connection; empty if it does not."""
        if self.permanent:
            return self.permanent
        if self.pins:
            return REASONS[self.pins & -self.pins]
        return ""

    def is_unsettled(self) -> bool:
        """Whether what the session holds is not known at the moment."""
        return self.changes is not None or self.settling is not None

    def may_have_prepared(self) -> bool:
        """Whether there may be a statement that SQL PREPARE made."""
        if self.execute_effects is None:
            return False
        held = self.pins & PREPARED_STATEMENT != 0
        return held or self.is_unsettled() or self.permanent != ""

    def parse_context(self) -> Hashable:
        """What a statement parsed now is read under; if unknown, equal to nothing else."""
        if self.is_unsettled() or self.permanent:
            return object()
        return self.settings.parse_context

    # Coming to a server connection.

    def news(self, server: PostgresServerStream) -> bytes:
        """Parameter statuses that this server reports otherwise, and that no replay will change."""
        if self.reported is None or self.reported is server.reported:
            return b""
        carried = self.settings.values.keys() | server.settings.values.keys()
        if "role" in carried:
            carried |= {"is_superuser"}
        news = {
            name: value
            for name, value in server.reported.items()
            if self.reported.get(name) != value and name.lower() not in carried
        }
        if not news:
            return b""
        self.reported = self.shared.intern_reported({**self.reported, **news})
        return b"".join(parameter_status(name, value) for name, value in news.items())

    def replay(self, server: PostgresServerStream) -> bytes:
        """Turn the connection's settings into the session's; ``b""`` if there is nothing to do."""
        if server.settings is self.settings or self.is_unsettled() or not server.is_idle():
            return b""
        query = replay_query(server.settings, self.settings, self.shared.baseline)
        server.settings = self.settings
        return server.ask(query, Question(pl.REPLAY)) if query else b""

    # While statements run.

    def note(self, effects: Effects, server: PostgresServerStream) -> bytes:
        """Remember what a statement may do; return what must go to the server ahead of it."""
        if self.changes is None:
            self.changes = Changes()
        self.changes.note(effects, self.pins, self.settings)
        if effects.reset_all:
            self.changes.settings.update(self.shared.baseline)
        if effects.may_begin & PREPARED_STATEMENT:
            prepared = Effects()
            prepared.add(effects)
            if self.execute_effects is not None:
                prepared.add(self.execute_effects)
            self.execute_effects = prepared
        if effects.executes and self.execute_effects is not None:
            self.changes.note(self.execute_effects, self.pins, self.settings)
        return self.guard_sequences(effects, server)

    def reported_by_server(self, name: str, value: str, *, ours: bool) -> bytes:
        """Take a ParameterStatus; return what the client is told, ``b""`` for nothing.

        ``ours``: it answers a question of ours, so what the client knows already is not news. A
        setting that a statement changed without naming it, in a function perhaps, is noted here. A
        setting put back to the session's default is put back to what the session started with.
        """
        if self.reported is None:
            return b""
        key = name.lower()
        if not ours:
            if self.changes is None:
                self.changes = Changes()
            self.changes.settings.add(key)
            greeting = self.shared.greeting(self.startup)
            if key in self.changes.reset and key in self.startup.values and greeting is not None:
                value = greeting.get(name, value)
                ours = True
        if ours and self.reported.get(name) == value:
            return b""
        self.reported = self.shared.intern_reported({**self.reported, name: value})
        return parameter_status(name, value)

    def guard_sequences(self, effects: Effects, server: PostgresServerStream) -> bytes:
        """Make currval and lastval fail rather than answer with another session's number.

        They are right on the connection that the session itself used last.
        """
        if not effects.reads_sequences or server.last_session is self or not server.is_idle():
            return b""
        server.last_session = self
        return server.ask(_DISCARD_SEQUENCES, Question(pl.PROBE))

    def note_tag(self, tag: bytes, server: PostgresServerStream) -> None:
        """Note a CommandComplete tag while changes are being collected."""
        changes = self.changes
        if changes is None:
            return
        changes.completed = True
        if tag == b"ROLLBACK":
            changes.rolled_back()
        elif tag == b"DISCARD ALL":
            self.execute_effects = None
            if self.permanent:
                # Nobody asks the server about a session that is pinned for good.
                self.settings = self.startup
                server.settings = self.shared.discarded
            if self.permanent != SESSION_POOLING and not survives_discard(self.permanent):
                self.permanent = ""
            if not survives_discard(changes.permanent):
                changes.permanent = ""

    def start_again(self, effects: Effects, server: PostgresServerStream) -> bytes:
        """Put back what the session started with, behind a statement that resets it."""
        values = self.startup.values
        names = values.keys() if effects.reset_all else values.keys() & effects.resets
        if not names:
            return b""
        encoding = values.get("client_encoding", "UTF8")
        query = set_query({name: values[name] for name in names}, encoding)
        return server.ask(query, Question(pl.PROBE))

    # At the end of a transaction.

    def leave_to_be_cleaned(self, server: PostgresServerStream) -> None:
        """Have what is not settled removed from the server connection."""
        if self.is_unsettled():
            server.dirty = True
        if self.changes is not None and survives_discard(self.changes.permanent):
            server.spoilt = True

    def settle(self, server: PostgresServerStream) -> bytes:
        """Ask the server what is there; ``b""`` when nothing must be asked."""
        changes = self.changes
        if changes is None:
            return b""
        self.changes = None
        if not changes.completed:
            changes.rolled_back()
        if changes.permanent:
            self.permanent = lasting(self.permanent, changes.permanent)
            server.dirty = True
            server.spoilt = server.spoilt or survives_discard(changes.permanent)
        message = b""
        if changes.redefined:
            message = server.ask(CATALOGUE_QUERY, Question(pl.CATALOGUE))
        query = b"" if self.permanent else changes.query()
        if query:
            self.settling = changes
            message += server.ask(query, Question(pl.SETTLE))
        return message

    def settled(self, question: Question, server: PostgresServerStream) -> None:
        """Take the server's answer to ``settle``."""
        changes = self.settling
        self.settling = None
        if changes is None:
            return
        if question.error:
            self.permanent = self.permanent or "unreadable_setting"
            server.dirty = True
            return
        found = changes.found_settings(question.rows)
        table = self.shared.settings
        self.settings = session_settings(table, found, changes.reset, self.settings, self.startup)
        for name in changes.reset:
            if name not in self.shared.baseline and name not in self.startup.values:
                found[name] = None
        server.settings = table.updated(server.settings, found)
        self.pins = (self.pins & ~changes.suspects) | changes.found_states(question.rows)
        if self.pins:
            server.dirty = True
        elif not self.permanent:
            server.dirty = False

    def replayed(self, question: Question, server: PostgresServerStream) -> ServerRefused | None:
        """Take the answer to ``replay``; an error ends the session."""
        if not question.error:
            return None
        server.settings = self.shared.discarded
        server.dirty = True
        return _fatal(question.error)


def _fatal(payload: bytes) -> ServerRefused:
    """Make a server's error (an ErrorResponse payload) one that ends the client's session."""
    payload = payload.replace(b"SERROR\0VERROR\0", b"SFATAL\0VFATAL\0", 1)
    fields = parse_error_fields(payload)
    return ServerRefused(
        fields.get("M", ""),
        response=b"E" + (len(payload) + 4).to_bytes(4, "big") + payload,
        code=fields.get("C", ""),
    )
