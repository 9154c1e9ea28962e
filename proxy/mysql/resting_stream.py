"""What a client sends while it has no server connection, as far as it can be dealt with without."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.errors import (
    ClientProtocolError,
    CredentialError,
    PacketsOutOfOrder,
    ProxyError,
    SessionKilled,
    TargetError,
)
from proxy.mysql import effects as fx
from proxy.mysql.capabilities import FIRST_SESSION
from proxy.mysql.constants import (
    CLIENT_DEPRECATE_EOF,
    CLIENT_MULTI_STATEMENTS,
    CLIENT_QUERY_ATTRIBUTES,
    CLIENT_SESSION_TRACK,
    COM_BINLOG_DUMP,
    COM_BINLOG_DUMP_GTID,
    COM_CHANGE_USER,
    COM_CLONE,
    COM_PING,
    COM_PROCESS_KILL,
    COM_QUERY,
    COM_QUIT,
    COM_REGISTER_SLAVE,
    COM_RESET_CONNECTION,
    COM_SET_OPTION,
    COM_STMT_CLOSE,
    COM_STMT_EXECUTE,
    COM_STMT_FETCH,
    COM_STMT_RESET,
    COM_TABLE_DUMP,
    EOF,
    HOLD_LIMIT_BYTES,
    MAX_PAYLOAD_BYTES,
    OK,
    SERVER_SESSION_STATE_CHANGED,
    SERVER_STATUS_NO_BACKSLASH_ESCAPES,
)
from proxy.mysql.dropping_stream import DroppingStream
from proxy.mysql.inspection import look_closely
from proxy.mysql.lenenc import lenenc, packet
from proxy.mysql.messages import Ok, eof_payload, err_payload, ok_payload, only_statement_id
from proxy.mysql.query_attributes import text_start
from proxy.mysql.reply import error_payload
from proxy.mysql.schema_choice import chosen_schema
from proxy.mysql.session import Session
from proxy.mysql.session_state import MULTI_STATEMENTS, STATEMENT_OUTCOME
from proxy.mysql.suspicion import is_plain, is_suspicious
from proxy.wire.dialect import Kill, LogInAgain, Move
from proxy.wire.stream import NEED_BYTES, NEED_NOTHING, NEED_SERVER

if TYPE_CHECKING:
    from mypy_extensions import i64

    from proxy.mysql.capabilities import ClientFacts
    from proxy.mysql.client_statements import ClientStatement
    from proxy.mysql.effects import Effects
    from proxy.mysql.pool_state import PoolState

_REPLICATION: Final = frozenset(
    {COM_BINLOG_DUMP, COM_BINLOG_DUMP_GTID, COM_TABLE_DUMP, COM_REGISTER_SLAVE, COM_CLONE}
)


class RestingStream(DroppingStream):
    """The part of a client's protocol state that needs no server connection."""

    def __init__(self, shared: PoolState, facts: ClientFacts, schema: bytes) -> None:
        super().__init__()
        self.shared = shared
        self.session = Session(shared, schema)
        self.facts = facts
        self.capabilities = facts.capabilities
        self.sequence = facts.sequence
        """Sequence id of the next packet to the client that answers no command."""
        self.eofs = not facts.capabilities & CLIENT_DEPRECATE_EOF
        """EOF packets end its column definitions and rows."""
        self.tracks = bool(facts.capabilities & CLIENT_SESSION_TRACK)
        self.attributes = bool(facts.capabilities & CLIENT_QUERY_ATTRIBUTES)
        self.statements: dict[int, ClientStatement] = {}
        self.prepared_last: ClientStatement | None = None
        self.harmless = b""
        """A command that was looked at before a server connection was taken for it."""
        self.plain_bytes: i64 = 0
        """Bytes of a plain query that ``held`` begins with, if it does."""

    def demand(self, data: bytes) -> int:
        """Look at the first commands; those that need no server are answered here.

        What remains is left in ``held``.
        """
        self.to_client = b""
        self.plain_bytes = 0
        if self.has_errand():
            return NEED_NOTHING
        while True:
            data = self.drop(data)
            self.held = data
            if len(data) < 5:
                if len(data) == 4 and not data[:3].strip(b"\0"):
                    self.error = ClientProtocolError("malformed packet")
                    return NEED_NOTHING
                return NEED_BYTES
            length = data[0] | (data[1] << 8) | (data[2] << 16)
            if not self.in_order(data[3], length):
                return NEED_NOTHING
            if len(data) < length + 4 and len(data) < HOLD_LIMIT_BYTES:
                return NEED_BYTES
            if self.session.schema and self.is_plain_query(data, 0, length + 4):
                self.plain_bytes = length + 4
                return NEED_SERVER
            if data[4] == COM_STMT_EXECUTE and self.knows_statement(data):
                return NEED_SERVER
            if not self.answered_alone(data[4], data[4 : 4 + length], attached=False):
                alone = self.session.schema or not self.chooses(data[4 : 4 + length])
                return NEED_SERVER if alone else NEED_NOTHING
            self.held = data = self.drop_command(data)
            if self.terminated or self.has_errand():
                return NEED_NOTHING

    def knows_statement(self, data: bytes) -> bool:
        """Whether a command, header included, begins with the id of one of the session's."""
        if len(data) < 9 or data[0] < 5:
            return False
        number = data[5] | (data[6] << 8) | (data[7] << 16) | (data[8] << 24)
        return number in self.statements

    def has_errand(self) -> bool:
        # A type checker takes an attribute not to change between two looks, but not a method.
        return self.errand is not None

    def in_order(self, sequence: int, length: int) -> bool:
        """Check the header of a command's first packet."""
        if sequence != 0:
            self.error = PacketsOutOfOrder("Got packets out of order")
        elif length == 0:
            self.error = ClientProtocolError("malformed packet")
        return self.error is None

    def answer_alone(self) -> bool:
        return False

    # Commands that need no server.

    def answered_alone(self, code: int, payload: bytes, *, attached: bool) -> bool:
        """Deal with a command without asking the server, if that can be; say whether it was."""
        if code == COM_QUERY:
            return not attached and self.shows_kept(payload)
        if code == COM_QUIT:
            self.terminated = True
            return True
        if code == COM_PING:
            if attached and self.session.pin_reason() == STATEMENT_OUTCOME:
                return False  # The server must know of it to answer for it.
            self.answer(self.plain_ok())
            self.session.pinged()
            return True
        if code in (COM_STMT_EXECUTE, COM_STMT_FETCH, COM_STMT_RESET, COM_STMT_CLOSE):
            return self.statement_alone(code, payload)
        if code == COM_SET_OPTION:
            return self.set_option(payload)
        if code == COM_RESET_CONNECTION:
            return not attached and self.reset_alone()
        if code in _REPLICATION:
            self.answer_error(1235, "42000", "Tidegate does not relay replication")
            return True
        if code == COM_CHANGE_USER:
            self.errand = LogInAgain(payload, self.facts)
            return True
        if code == COM_PROCESS_KILL:
            return self.kills(int.from_bytes(payload[1:5], "little"), query_only=False)
        return False

    def plain_ok(self) -> Ok:
        """An OK that nothing has happened; MySQL tells how many messages there are (9.7.4)."""
        session = self.session
        return Ok(status=session.status, warnings=0 if self.shared.mariadb else session.warnings)

    def answer(self, ok: Ok, header: int = OK) -> None:
        payload = self.translated(ok, header)
        if payload is None:
            payload = ok_payload(ok, session_track=self.tracks, header=header)
        self.to_client += packet(payload, 1)

    def answer_error(self, errno: int, sqlstate: str, text: str) -> None:
        self.to_client += packet(err_payload(errno, sqlstate, text), 1)
        self.session.heard_our_error(errno, text)

    def answer_outcome_unknown(self) -> None:
        """Refuse ROW_COUNT() and its like rather than answer with another session's number.

        From here on the session stays where its statements run, so this happens only once.
        """
        self.session.note_asking(0, True)
        self.answer_error(
            1235,
            "42000",
            "Tidegate cannot tell what the previous statement did: it ran on another server"
            " connection. From now on this session keeps its connection",
        )

    def reset_alone(self) -> bool:
        """Reset the session; a server is only needed to learn once what that leads to."""
        if self.shared.after_reset is None:
            return False
        self.reset_session()
        self.session.settings = self.shared.after_reset
        self.answer(Ok(status=self.session.status))
        return True

    def reset_session(self) -> None:
        self.statements.clear()
        self.prepared_last = None
        self.session.reset(self.shared.after_reset or self.shared.settings.none)
        self.session.status = self.shared.status

    def set_option(self, payload: bytes) -> bool:
        """MULTI_STATEMENTS is part of what server connections have in common."""
        wanted = payload[1:3] == b"\0\0"
        if self.session.permanent == MULTI_STATEMENTS:
            return False
        if len(payload) != 3 or wanted != bool(self.capabilities & CLIENT_MULTI_STATEMENTS):
            return False
        self.answer(self.plain_ok(), EOF)
        return True

    def kills(self, number: int | None, *, query_only: bool) -> bool:
        """Have a session of ours ended; other numbers are those of the server's own threads."""
        if number is None or number < FIRST_SESSION:
            return False
        self.errand = Kill(number, query_only)
        return True

    def errand_done(self, error: ProxyError | None) -> None:
        self.to_client = b""
        if error is None:
            self.answer(Ok(status=self.session.status))
        elif isinstance(error, SessionKilled) and self.shared.mariadb:
            self.answer_error(1927, "70100", "Connection was killed")
        else:
            self.to_client = packet(error_payload(error), 1)

    def shows_kept(self, payload: bytes) -> bool:
        """Answer SHOW WARNINGS and its like from what was kept."""
        effects = self.inspect(payload)
        if effects is None:
            return False
        if effects.kill is not None:
            return self.kills(effects.kill.number, query_only=effects.kill.query_only)
        if effects.shows == fx.SHOWS_NOTHING:
            return False
        session = self.session
        kept = session.diagnostics
        if kept is None:
            kept = self.shared.no_warnings(session.settings)
        if kept is None or session.due.warnings:
            return False
        found = kept.answer(
            effects.shows, effects.show_limit, session.status, deprecate_eof=not self.eofs
        )
        if found is None:
            return False
        self.to_client += found
        return True

    def inspect(self, payload: bytes) -> Effects | None:
        """Look at the text of a COM_QUERY or COM_STMT_PREPARE."""
        start = 1
        if self.attributes and payload[0] == COM_QUERY:
            start = text_start(payload)
        if payload == self.harmless:
            return None
        effects = self.effects_of(payload[start:])
        if effects is None:
            self.harmless = payload
        return effects

    def is_plain_query(self, data: bytes, pos: i64, stop: i64) -> bool:
        """Whether a COM_QUERY, whole and with its header, is harmless at first sight."""
        if stop > len(data) or data[pos + 4] != COM_QUERY or stop - pos >= MAX_PAYLOAD_BYTES:
            return False
        start = pos + 5
        if self.attributes:
            if stop - pos < 7 or data[pos + 5] != 0 or data[pos + 6] != 1:
                return False
            start = pos + 7
        if self.shared.hidden is not None or not self.session.schema or self.session.choosing:
            return False
        return is_plain(data, start, stop)

    def effects_of(self, sql: bytes) -> Effects | None:
        """What a text may do to the session, by itself or in programs that it calls."""
        effects, session, hidden = None, self.session, self.shared.hidden
        if is_suspicious(sql):
            no_escapes = bool(session.status & SERVER_STATUS_NO_BACKSLASH_ESCAPES)
            multibyte = self.shared.is_multibyte(session.settings)
            effects = look_closely(sql, no_escapes, multibyte)
        return effects if hidden is None else hidden.added_to(sql, effects)

    def statement_alone(self, code: int, payload: bytes) -> bool:
        """Deal with a command about a prepared statement, if that needs no server."""
        raise NotImplementedError

    # Replies.

    def translated(self, ok: Ok, header: int) -> bytes | None:
        """An OK packet as this client must see it; ``None`` if it can stay as it is."""
        if header == EOF and self.eofs:
            return eof_payload(ok.status & ~SERVER_SESSION_STATE_CHANGED, ok.warnings)
        if not ok.track:
            return None
        track = b""
        if self.tracks and not only_statement_id(ok.track):
            track = self.session.shown_track(ok.track)
        kept = Ok(ok.affected_rows, ok.last_insert_id, ok.status, ok.warnings, ok.info, track)
        return ok_payload(kept, session_track=self.tracks, header=header)

    def greet(self) -> bytes:
        """Encode the OK packet that ends the login."""
        facts = self.facts
        schema = self.session.schema
        track = b"" if facts.again else self.shared.login_track()
        if schema and self.shared.tracking.schema:
            track += b"\x01" + lenenc(lenenc(schema))
        ok = Ok(status=self.shared.status, info=facts.proof, track=track)
        greeting = packet(ok_payload(ok, session_track=self.tracks), self.sequence)
        self.sequence = 0
        return greeting

    # The default schema of a session that logged in without one.

    def chooses(self, payload: bytes) -> bool:
        """Whether a command chooses a schema that has a pool: the session moves there ahead of it.

        From then on it is like one that logged in with that schema. Where no connection of a pool
        has proven that the user may use it, the server is asked first (``moving``), and where the
        session has prepared statements, because these run without a default schema for ever.
        """
        name = chosen_schema(payload, attributes=self.attributes)
        if not name or name not in self.shared.proven or self.statements:
            return False
        self.session.choose(name)
        self.errand = Move(name.decode())
        return True

    def forgives(self, error: ProxyError) -> bool:
        return self.session.choosing and isinstance(error, (TargetError, CredentialError))

    def refuse(self, error: ProxyError) -> None:
        """Answer the held command with an error."""
        if self.session.choosing:
            self.session.choose(b"")
            self.errand = Move("")
        self.harmless = b""
        self.held = self.drop_command(self.held)
        self.to_client = packet(error_payload(error), 1)
