"""What a client session carries from one server connection to the next, and what pins it.

System variables, the default schema, user variables, LAST_INSERT_ID() and the diagnostics area are
carried. What the server reports (``tracking.py``) says which variables changed; what it does not
report is asked of it (``settle``) before the connection is left. Everything else that statements
may leave behind pins the session, until it is reset or the state provably ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.errors import ProtocolError
from proxy.mysql import effects as fx
from proxy.mysql import pipeline as pl
from proxy.mysql import user_variables as uv
from proxy.mysql.constants import (
    LASTING_FLAGS,
    SERVER_STATUS_AUTOCOMMIT,
    SERVER_STATUS_IN_TRANS,
)
from proxy.mysql.diagnostics import QUESTION as SHOW_WARNINGS
from proxy.mysql.diagnostics import Diagnostics
from proxy.mysql.hidden import Catalogue
from proxy.mysql.lenenc import lenenc
from proxy.mysql.messages import only_statement_id
from proxy.mysql.pipeline import NO_NAMES, NO_VARIABLES
from proxy.mysql.session_state import SessionState
from proxy.mysql.settings import answers, question, read_changes
from proxy.mysql.text_rows import text_row
from proxy.mysql.tracking import REPORT_ALL, Track, filter_track, read_track

if TYPE_CHECKING:
    from proxy.mysql.effects import Effects
    from proxy.mysql.messages import Ok
    from proxy.mysql.pipeline import Question, Reply
    from proxy.mysql.server_stream import MysqlServerStream
    from proxy.mysql.settings import Changes

_KEPT_ELSEWHERE: Final = (
    fx.USER_VARIABLE | fx.LOCK_TABLES | fx.TRANSACTION_CHARACTERISTICS | fx.SET_STATEMENT
)
"""Kinds of state that the text only suspects and the server tells."""
_MOST_ATTEMPTS: Final = 3
_UNKNOWN: Final = b""
_UNKNOWN_STATEMENT: Final = 1243
_UNKNOWN_INSERT_ID: Final = -1
_ASK_INSERT_ID: Final = b"SELECT LAST_INSERT_ID(),LAST_INSERT_ID(0)"
"""Leaves 0, which no statement makes: so the next answer tells whether one was made."""


class Session(SessionState):
    """State of one client session, and what its statements do to it."""

    # While statements run.

    def begins(
        self, effects: Effects | None, *, several: bool = False, keeps: bool = False
    ) -> None:
        """A command of the client's is sent; ``keeps``: it leaves the diagnostics area alone."""
        self.keeps = keeps
        self.effects = effects
        self.several = several
        self.lingering = ""
        if effects is not None and effects.permanent:
            self.permanent = self.permanent or effects.permanent

    def heard(self, ok: Ok, server: MysqlServerStream, *, rows: int) -> None:
        """An OK packet for the client, which ends this many ``rows``; -1 if there are none."""
        self.row_count = ok.affected_rows if rows < 0 else -1
        self.found_rows = rows if rows >= 0 else None
        self.status = ok.status & LASTING_FLAGS
        if not self.keeps:
            self.warnings = ok.warnings
            self.due.warnings = ok.warnings > 0
            self.diagnostics = None
            self.last_server = server.serial
            server.last_session = self
        if ok.last_insert_id:
            self.due.insert_id = True
        effects = self.effects
        if effects is not None:
            self.note_effects(effects, server)
        if ok.track and not only_statement_id(ok.track):
            self.note_track(read_track(ok.track), server)

    def heard_prepared(self, warnings: int, server: MysqlServerStream) -> None:
        """A statement has been prepared for the client."""
        self.warnings = warnings
        self.due.warnings = warnings > 0
        self.diagnostics = None
        self.last_server = server.serial
        server.last_session = self

    def heard_error(self, server: MysqlServerStream) -> None:
        """An ERR packet for the client."""
        self.row_count = -1
        self.found_rows = None
        self.warnings = 1
        self.due.warnings = True
        self.diagnostics = None
        self.due.report = True
        self.last_server = server.serial
        server.last_session = self
        if self.choosing:
            self.choose(b"")
        effects = self.effects
        if effects is not None and (
            self.several
            or effects.may_begin & (fx.STORED_PROGRAM | fx.NAMED_LOCK)
            or effects.writes_user_variables
        ):
            # It may have come as far as that, and been killed then.
            self.note_effects(effects, server)
        elif effects is not None and effects.reads_last_insert_id:
            self.due.insert_id = True

    def heard_our_error(self, errno: int, text: str) -> None:
        """An ERR packet of ours for the client: the next SHOW WARNINGS must show it."""
        # Unknown statement ids are found before the last statement's messages are removed.
        adds = errno == _UNKNOWN_STATEMENT and self.warnings > 0 and not self.shared.mariadb
        before = self.diagnostics if adds else self.shared.no_warnings(self.settings)
        self.row_count = -1
        self.found_rows = None
        self.warnings = self.warnings + 1 if adds else 1
        self.due.warnings = False
        self.last_server = 0
        self.diagnostics = None if before is None else before.with_error(errno, text)

    def heard_ours(self, ok: Ok, server: MysqlServerStream, reply: Reply) -> None:
        """An OK packet that ends the reply to a question of ours."""
        purpose = reply.question.purpose if reply.question is not None else 0
        if purpose == pl.WARNINGS or purpose == pl.REPORT:
            in_transaction = ok.status & SERVER_STATUS_IN_TRANS
            self.status = (self.status & ~SERVER_STATUS_IN_TRANS) | in_transaction
            if ok.track and not only_statement_id(ok.track):
                self.note_track(read_track(ok.track), server)

    def shown_track(self, raw: bytes) -> bytes:
        """What the client has asked to be told of a session-state block."""
        asked = self.shared.tracking
        track = filter_track(
            raw,
            asked.variables,
            schema=asked.schema,
            state_change=asked.state_change,
            gtids=asked.gtids,
            transaction_info=asked.transaction_info,
        )
        if asked.begin_and_end and (state := read_track(raw).transaction) is not None:
            begun = state.startswith("T")
            if begun != self.begun:
                self.begun = begun
                state = state.replace("L", "_")
                track += bytes((5,)) + lenenc(lenenc(state.encode()))
        return track

    def note_effects(self, effects: Effects, server: MysqlServerStream) -> None:
        begun = effects.may_begin & ~_KEPT_ELSEWHERE & ~fx.STORED_PROGRAM
        self.pins = (self.pins | begun) & ~(effects.may_end & fx.ENDED_BY_TEXT & ~begun)
        if effects.may_end & fx.XA_TRANSACTION and not server.in_transaction():
            self.pins &= ~fx.XA_TRANSACTION
        self.note_tables(effects)
        if begun & fx.NAMED_LOCK:
            self.locks |= effects.lock_names or {_UNKNOWN}
        # One that was not to be had, or that a program gave back, is not held.
        self.due.locks = self.due.locks or bool((begun | effects.may_end) & fx.NAMED_LOCK)
        if effects.may_begin & fx.SET_STATEMENT:
            self.due.report = True
        if effects.redefines:
            self.due.catalogue = Catalogue()
        if effects.calc_found_rows:
            self.lingering = "found_rows"
        if effects.reads_last_insert_id:
            self.due.insert_id = True  # LAST_INSERT_ID(n) changes it.
        if effects.writes_user_variables:
            if effects.user_variables:
                self.due.user_variables |= effects.user_variables
            else:
                self.pins |= fx.USER_VARIABLE
        self.mark(server)

    def note_tables(self, effects: Effects) -> None:
        """Temporary tables that a statement made or dropped."""
        names = effects.temporary_tables
        if effects.may_begin & fx.TEMPORARY_TABLE:
            # The same name again may be one in other letters, or of another schema.
            known = names and not names & self.temporary and not self.several
            self.temporary |= names if known else {_UNKNOWN}
        elif effects.may_end & fx.TEMPORARY_TABLE and self.pins & fx.TEMPORARY_TABLE:
            self.temporary -= names
            if not self.temporary:
                self.pins &= ~fx.TEMPORARY_TABLE

    def mark(self, server: MysqlServerStream) -> None:
        """Note on the server connection whether it holds what only a reset removes."""
        server.dirty = bool(self.pins & ~fx.STRAY or self.permanent)

    def note_track(self, track: Track, server: MysqlServerStream) -> None:
        """Take what the server reports."""
        if track.schema is not None:
            self.schema = track.schema.encode("utf-8", "surrogateescape")
            server.schema = self.schema
            self.choosing = False
            self.note_schema()
        if track.transaction is not None:
            self.pin(fx.LOCK_TABLES, track.locks_tables, server)
        if track.characteristics is not None:
            one_shot = track.characteristics.startswith("SET TRANSACTION")
            self.pin(fx.TRANSACTION_CHARACTERISTICS, one_shot, server)
        if track.variables:
            self.note_variables(track, server)
        if track.state_changed and not track.variables and track.schema is None:
            effects = self.effects
            if effects is None or effects.may_begin & fx.STORED_PROGRAM:
                # A stored program has made something that no text names.
                self.pin(fx.STORED_PROGRAM, True, server)

    def pin(self, kind: int, held: bool, server: MysqlServerStream) -> None:
        self.pins = self.pins | kind if held else self.pins & ~kind
        self.mark(server)

    def note_variables(self, track: Track, server: MysqlServerStream) -> None:
        self.take_changes(read_changes(track.variables, self.shared.baseline), server)

    def take_changes(self, changes: Changes, server: MysqlServerStream) -> None:
        if changes.values:
            self.settings = self.shared.settings.updated(self.settings, changes.values)
            server.settings = self.settings
        self.due.variables |= changes.unknown
        if changes.pins:
            self.permanent = self.permanent or changes.pins[0]
            server.dirty = True
        if changes.insert_id:
            self.due.insert_id = True

    # At the end of a transaction.

    def settle(self, server: MysqlServerStream) -> bytes:
        """Ask the server what must be known before it is left; ``b""`` if nothing must be."""
        if self.due.catalogue is not None and self.may_ask():
            return self.ask_catalogue(self.due.catalogue, server)
        if self.pin_reason():
            return self.ask_locks(server)
        message = b""
        if server.failed or self.due.warnings:
            message = self.ask_warnings(server)
        if self.due.report:
            self.due.report = False
            message += server.ask(REPORT_ALL, pl.REPORT)
        if self.due.insert_id:
            self.due.insert_id = False
            message += server.ask(_ASK_INSERT_ID, pl.INSERT_ID)
            server.insert_id = _UNKNOWN_INSERT_ID
        if message:
            return message
        if self.due.variables:
            self.asked = self.due.variables
            self.due.variables = NO_VARIABLES
            message += server.ask(question(self.asked), pl.VARIABLES)
        if self.due.user_variables:
            self.asked_names = tuple(sorted({*self.due.user_variables, *self.user_variables}))
            self.due.user_variables = NO_NAMES
            message += server.ask(uv.question(list(self.asked_names)), pl.USER_VARIABLES)
        return message

    def may_ask(self) -> bool:
        """Whether nothing depends on what ran last on the server connection."""
        one_shot = self.pins & fx.TRANSACTION_CHARACTERISTICS
        return not (self.asking or self.holding or self.lingering or one_shot)

    def ask_catalogue(self, catalogue: Catalogue, server: MysqlServerStream) -> bytes:
        """Ask the next question about what stored programs do."""
        if server.failed or self.due.warnings:
            return self.ask_warnings(server)
        message = server.ask(catalogue.question(), pl.CATALOGUE)
        if not self.status & SERVER_STATUS_AUTOCOMMIT:
            message += server.ask(b"ROLLBACK", pl.PROBE)  # MySQL has begun a transaction.
        return message

    def take_catalogue(self, asked: Question) -> None:
        catalogue = self.due.catalogue
        if catalogue is None:
            return
        if asked.error or asked.too_long:
            # The next server connection asks.
            self.shared.catalogue_read_at = None
            self.due.catalogue = None
            return
        # Rows begin with a kind of one letter; whether definitions come first is a setting.
        rows = [text_row(payload) for payload in asked.payloads[1:-1] if payload[0] == 1]
        catalogue.take(rows)
        if not catalogue.question():
            self.shared.hidden = catalogue.effects()
            self.due.catalogue = None

    def ask_locks(self, server: MysqlServerStream) -> bytes:
        if not self.due.locks or not self.may_ask():
            return b""
        if _UNKNOWN in self.locks or not self.locks:
            self.due.locks = False
            return b""
        if server.failed or self.due.warnings:
            return self.ask_warnings(server)
        self.due.locks = False
        held = b" OR ".join(b"IS_USED_LOCK(%s)<=>CONNECTION_ID()" % name for name in self.locks)
        return server.ask(b"SELECT " + held, pl.LOCKS)

    def ask_warnings(self, server: MysqlServerStream) -> bytes:
        self.due.attempts += 1
        if self.due.attempts > _MOST_ATTEMPTS:
            # Nobody knows whether a transaction is open: the session must not move on.
            self.permanent = "unreadable_state"
            server.error = "SHOW WARNINGS failed"
            return b""
        self.due.warnings = False
        return server.ask(SHOW_WARNINGS, pl.WARNINGS)

    def answered(self, asked: Question, server: MysqlServerStream) -> None:
        """Take the answer to a question of ``settle``."""
        server.last_session = None
        purpose = asked.purpose
        if purpose == pl.WARNINGS:
            self.take_warnings(asked, server)
        elif purpose == pl.CATALOGUE:
            self.take_catalogue(asked)
        elif asked.error or asked.too_long:
            self.permanent = self.permanent or "unreadable_state"
            server.dirty = True
        elif purpose == pl.INSERT_ID:
            value = int(text_row(asked.payloads[3])[0] or b"0")
            # It is 0 unless a statement made one, or the session's own was put there.
            self.insert_id = value or self.insert_id
            server.insert_id = 0
        elif purpose == pl.LOCKS:
            if text_row(asked.payloads[2]) == [b"0"]:
                self.locks = NO_NAMES
                self.pin(fx.NAMED_LOCK, False, server)
        elif purpose == pl.VARIABLES:
            row = [
                None if v is None else v.decode("utf-8", "surrogateescape")
                for v in text_row(asked.payloads[-2])
            ]
            found = answers(self.asked, row, self.shared.baseline)
            self.asked = NO_VARIABLES
            self.take_changes(found, server)
        elif purpose == pl.USER_VARIABLES:
            self.take_user_variables(asked, server)

    def take_warnings(self, asked: Question, server: MysqlServerStream) -> None:
        if asked.error:
            self.due.warnings = True  # A late KILL QUERY, perhaps: asked again.
            return
        self.due.attempts = 0
        if asked.too_long:
            self.lingering = "warnings"
            return
        try:
            self.diagnostics = Diagnostics(asked.payloads, self.warnings, extended=server.extended)
            if not self.due.variables:
                empty = [*asked.payloads[:4], asked.payloads[-1]]
                self.shared.learn_no_warnings(empty, self.settings, extended=server.extended)
        except ProtocolError as error:
            server.error = str(error)

    def take_user_variables(self, asked: Question, server: MysqlServerStream) -> None:
        names = list(self.asked_names)
        self.asked_names = ()
        columns = uv.COLUMNS * len(names)
        try:
            definitions = [
                uv.read_column(payload, extended=server.extended)
                for payload in asked.payloads[1 : 1 + columns]
            ]
            values = uv.read_values(names, definitions, text_row(asked.payloads[1 + columns]))
        except (ProtocolError, IndexError):
            values = None
        if values is None or uv.size(values) > uv.MOST_BYTES:
            self.pin(fx.USER_VARIABLE, True, server)
            return
        values = {name: value for name, value in values.items() if value != b"NULL"}
        self.user_variables = values or self.shared.no_user_variables
        server.user_variables = self.user_variables
