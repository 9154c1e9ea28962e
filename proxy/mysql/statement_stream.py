"""What a client sends about prepared statements of the binary protocol.

Changed are the ids; put in ahead are the replay of the session's state, and COM_STMT_PREPARE for a
statement that this server connection has not prepared yet. In that last case, and when the default
schema has to be changed, the client's own command waits for the server's answer: run in another
schema it would do harm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.mysql import pipeline as pl
from proxy.mysql.binary_protocol import execute_types, with_types
from proxy.mysql.client_statements import ClientStatement, Preparation
from proxy.mysql.constants import (
    COM_INIT_DB,
    COM_STMT_BULK_EXECUTE,
    COM_STMT_CLOSE,
    COM_STMT_EXECUTE,
    COM_STMT_FETCH,
    COM_STMT_PREPARE,
    COM_STMT_RESET,
    COM_STMT_SEND_LONG_DATA,
    CURSOR_TYPE_READ_ONLY,
    MAX_PAYLOAD_BYTES,
)
from proxy.mysql.lenenc import packet
from proxy.mysql.literals import Literal, outcomes, own_ids, with_literals
from proxy.mysql.messages import Ok
from proxy.mysql.pipeline import Reply
from proxy.mysql.prepared import Statement
from proxy.mysql.query_attributes import text_start
from proxy.mysql.reframing import Reframing
from proxy.mysql.resting_stream import RestingStream
from proxy.mysql.schema_choice import chosen_schema
from proxy.mysql.settings import PARSE_TIME, replay_sql

if TYPE_CHECKING:
    from proxy.mysql.capabilities import ClientFacts
    from proxy.mysql.effects import Effects
    from proxy.mysql.pool_state import PoolState
    from proxy.mysql.server_statements import ServerStatement
    from proxy.mysql.server_stream import MysqlServerStream

OF_STATEMENTS: Final = frozenset(
    {
        COM_STMT_EXECUTE,
        COM_STMT_BULK_EXECUTE,
        COM_STMT_SEND_LONG_DATA,
        COM_STMT_FETCH,
        COM_STMT_RESET,
    }
)
"""Commands that begin with a statement's id and may need a server."""
_LAST_PREPARED: Final = 0xFFFFFFFF
"""MariaDB's clients mean the statement they prepared last."""
_MOST_STATEMENTS: Final = 16382
"""Prepared statements of one session: ``max_prepared_stmt_count`` of servers, by default."""


class StatementStream(RestingStream):
    """The part of a client's protocol state that has to do with prepared statements."""

    def __init__(self, shared: PoolState, facts: ClientFacts, schema: bytes) -> None:
        super().__init__(shared, facts, schema)
        self.number = 0
        """The connection id that the client was greeted with."""
        self.server: MysqlServerStream | None = None
        self.next_statement = 1
        self.ahead = b""
        """What goes to the server ahead of the command being dealt with."""
        self.executing: ClientStatement | None = None
        """Statement that a cursor was asked for, or fetched from, last."""

    def statement(self, payload: bytes) -> ClientStatement | None:
        """The statement that a command's id means."""
        number = int.from_bytes(payload[1:5], "little")
        if number == _LAST_PREPARED:
            return self.prepared_last
        return self.statements.get(number)

    def statement_alone(self, code: int, payload: bytes) -> bool:
        statement = self.statement(payload)
        if code == COM_STMT_CLOSE:
            if statement is not None:
                self.session.note_asking(statement.number, False)
                self.close_on_server(statement)
                del self.statements[statement.number]
            return True
        if statement is None or len(payload) < 5:
            self.unknown_statement(code, int.from_bytes(payload[1:5], "little"))
            return True
        if code == COM_STMT_FETCH and not statement.cursor:
            stop = "" if self.shared.mariadb else "."
            self.answer_error(
                1421, "HY000", f"The statement ({statement.number}) has no open cursor{stop}"
            )
            return True
        if code == COM_STMT_RESET and statement.number not in self.session.holding:
            self.answer(Ok(status=self.session.status))
            return True
        return False

    def unknown_statement(self, code: int, number: int) -> None:
        by = self.shared.unknown_statement_by(code)
        self.answer_error(
            1243, "HY000", f"Unknown prepared statement handler ({number}) given to {by}"
        )

    def prepare(self, server: MysqlServerStream, data: bytes, length: int) -> bytes | None:
        payload = data[4:]
        if len(self.statements) >= _MOST_STATEMENTS:
            self.answer_error(
                1461,
                "42000",
                "Can't create more than max_prepared_stmt_count statements"
                f" (current value: {_MOST_STATEMENTS})",
            )
            return b""
        effects = self.inspect(payload)
        self.harmless = b""
        self.ahead = self.preamble(server)
        if self.waiting:
            return None
        session = self.session
        sql = payload[1:]
        replacement = None
        if len(payload) < length or length == MAX_PAYLOAD_BYTES:
            # Nobody has the whole text to prepare it again elsewhere.
            session.permanent = session.permanent or "long_prepared_statement"
            known = Statement(b"", session.settings, session.schema)
        else:
            if effects is not None and effects.connection_ids:
                sql = with_literals(sql, own_ids(effects, self.number))
                replacement = packet(payload[:1] + sql, 0)
            known = self.shared.statements.statement(sql, session.settings, session.schema)
        statement = ClientStatement(self.next_statement, known, effects, self.shared.hidden)
        self.next_statement += 1
        self.prepared_last = None
        session.begins(None)
        server.push(Reply(pl.PREPARED, None, Preparation(statement, ours=False)))
        return replacement

    def prepared(self, statement: ClientStatement, warnings: int) -> None:
        """The server has prepared what the client asked for."""
        if self.server is not None:
            self.session.heard_prepared(warnings, self.server)
        self.statements[statement.number] = statement
        self.prepared_last = statement
        effects = statement.effects
        if effects is not None and (effects.reads_diagnostics or effects.outcome_calls):
            # Known numbers cannot be put into it: until it is closed, the session stays.
            self.session.note_asking(statement.number, True)

    def of_statement(
        self, code: int, server: MysqlServerStream, data: bytes, payload: bytes, length: int
    ) -> bytes | None:
        """A command about a prepared statement; ``data`` is its ``payload`` with a header."""
        statement = self.statement(payload)
        if statement is None or length < 5:
            if code != COM_STMT_SEND_LONG_DATA:
                self.unknown_statement(code, int.from_bytes(data[5:9], "little"))
            return b""
        self.ahead = self.preamble(server)
        if self.waiting:
            return None
        held = server.statements.find(statement.statement)
        known = statement.statement
        if held is None and not (known.sql and bool(known.schema) == bool(self.session.schema)):
            return self.lost_statement(code)
        if held is None:
            self.prepare_again(server, statement, silent=code == COM_STMT_SEND_LONG_DATA)
            return None
        number = held.encoded
        session = self.session
        if code == COM_STMT_SEND_LONG_DATA:
            session.hold(statement.number, True)
            server.dirty = True
            return data[:5] + number + data[9:]
        if code == COM_STMT_FETCH:
            server.push(Reply(pl.ROWS))
            self.executing = statement
            return data[:5] + number + data[9:]
        if code == COM_STMT_RESET:
            session.hold(statement.number, False)
            statement.cursor = False
            server.push(pl.RESULT_REPLY)
            return data[:5] + number + data[9:]
        return self.execute(code, server, statement, held, payload, length)

    def execute(
        self,
        code: int,
        server: MysqlServerStream,
        statement: ClientStatement,
        held: ServerStatement,
        payload: bytes,
        length: int,
    ) -> bytes:
        """COM_STMT_EXECUTE, or MariaDB's COM_STMT_BULK_EXECUTE, of a statement prepared here."""
        session = self.session
        effects = self.effects_now(statement)
        if effects is not None:
            outcome = effects.reads_diagnostics or effects.outcome_calls
            if outcome and not session.is_fresh_on(server):
                self.answer_outcome_unknown()
                return b""
            if effects.reads_last_insert_id:
                self.ahead += session.replay_insert_id(server)
        sent = execute_types(payload, statement.parameters, attributes=self.attributes)
        insert = b""
        if sent is not None and sent.types is not None:
            statement.types = sent.types
        elif sent is not None and statement.types is not None and held.types != statement.types:
            insert = statement.types
        held.types = statement.types
        whole = len(payload) == length and length < MAX_PAYLOAD_BYTES
        payload = payload[:1] + held.encoded + payload[5:]
        if insert and sent is not None:
            head = with_types(payload[: sent.end], sent, insert)
            if length + len(insert) >= MAX_PAYLOAD_BYTES and not whole:
                self.reframing = Reframing(head, sent.end)
            payload = head + payload[sent.end :]
        flags = payload[5] if len(payload) > 5 else 0  # The server says what is wrong with it.
        cursor = code == COM_STMT_EXECUTE and bool(flags & CURSOR_TYPE_READ_ONLY)
        self.executing = statement if cursor else None
        session.hold(statement.number, False)
        session.begins(effects)
        server.push(Reply(pl.RESULT, None, None, cursor))
        if self.reframing is not None:
            return b""
        if whole:
            return packet(payload, 0)
        return (length + len(insert)).to_bytes(3, "little") + b"\0" + payload

    def effects_now(self, statement: ClientStatement) -> Effects | None:
        """What executing a statement may do, with stored programs as they are by now."""
        if statement.hidden is not self.shared.hidden and statement.statement.sql:
            statement.hidden = self.shared.hidden
            statement.effects = self.effects_of(statement.statement.sql)
        return statement.effects

    def prepare_again(
        self, server: MysqlServerStream, statement: ClientStatement, *, silent: bool
    ) -> None:
        """Prepare on this server connection what was prepared on another; the client waits."""
        session = self.session
        known = statement.statement
        preparation = Preparation(statement, ours=True)
        preparation.silent = silent
        server.last_session = None  # From here on it tells of this statement.
        # A statement means what it meant when it was prepared, whatever has been set since.
        then = self.shared.settings.updated(
            session.settings, {name: known.settings.values.get(name) for name in PARSE_TIME}
        )
        baseline = self.shared.baseline
        if there := replay_sql(session.settings, then, baseline):
            self.ahead += server.ask(there, pl.REPLAY)
        if known.schema != session.schema:
            self.ahead += server.order(COM_INIT_DB, known.schema, pl.SCHEMA)
        server.push(Reply(pl.PREPARED, None, preparation))
        self.ahead += packet(bytes((COM_STMT_PREPARE,)) + known.sql, 0)
        if known.schema != session.schema:
            self.ahead += server.order(COM_INIT_DB, session.schema, pl.SCHEMA)
        if there:
            back = replay_sql(then, session.settings, baseline)
            self.ahead += server.ask(back, pl.REPLAY)
        self.waiting = True

    def lost_statement(self, code: int) -> bytes:
        """A statement that cannot be prepared again is not here any more.

        Its text was not kept, or it was prepared without a default schema, and the session has one.
        """
        if code != COM_STMT_SEND_LONG_DATA:
            text = "Tidegate has closed this prepared statement and cannot prepare it again"
            self.answer_error(1461, "42000", text)
        return b""

    def prepared_without_schema(self) -> list[ClientStatement]:
        """Statements that run without a default schema, whatever the session has by then."""
        return [each for each in self.statements.values() if not each.statement.schema]

    def prepares_ahead(self, server: MysqlServerStream, payload: bytes) -> bool:
        """Prepare one more statement here while that can be done without a default schema.

        Says whether the command, which chooses one, has to wait for that.
        """
        if not chosen_schema(payload, attributes=self.attributes):
            return False
        known = self.prepared_without_schema()
        missing = [each for each in known if server.statements.find(each.statement) is None]
        if not missing or len(known) > self.shared.max_prepared_statements:
            return False
        self.ahead = self.preamble(server)
        if not self.waiting:
            self.prepare_again(server, missing[0], silent=False)
        return True

    def preparation_failed(self) -> None:
        """The server would not prepare a statement again: its error answers what was held."""
        self.held = self.drop_command(self.held)

    def close_on_server(self, statement: ClientStatement) -> None:
        """Close a statement of which the server connection holds a cursor or long data."""
        server = self.server
        if server is not None and statement.number in self.session.holding:
            self.session.hold(statement.number, False)
            number = server.statements.drop(statement.statement)
            if number is not None:
                server.obsolete.append(number)

    # What goes in place of calls in a text.

    def literals(self, server: MysqlServerStream, effects: Effects) -> list[Literal]:
        """What to put in place of calls whose result the server connection does not know."""
        found = own_ids(effects, self.number)
        if effects.outcome_calls and not self.session.is_fresh_on(server):
            found += outcomes(effects, self.session)
        return found

    def with_literals(self, payload: bytes, literals: list[Literal], length: int) -> bytes | None:
        """Put literals into a COM_QUERY, if it is here as a whole."""
        if len(payload) < length or length == MAX_PAYLOAD_BYTES:
            return None
        begin = text_start(payload) if self.attributes else 1
        return packet(payload[:begin] + with_literals(payload[begin:], literals), 0)

    # What goes ahead of the client's own commands.

    def preamble(self, server: MysqlServerStream) -> bytes:
        """Closing of statements and replay of state; ``b""`` nearly always."""
        message = server.close_obsolete() if server.obsolete else b""
        session = self.session
        if session.due.catalogue is not None and session.may_ask() and server.is_idle():
            # What has been redefined may be what the command calls.
            question = session.ask_catalogue(session.due.catalogue, server)
            if question:
                self.waiting = True
                return message + question
        if server.insert_id < 0:
            server.insert_id = 0
            message += server.ask(b"SET LAST_INSERT_ID=0", pl.PROBE)
        if server.schema != session.schema and not session.choosing:
            server.schema = session.schema
            message += server.order(COM_INIT_DB, session.schema, pl.SCHEMA)
            self.waiting = True
        elif (
            server.settings is not session.settings
            or server.user_variables is not session.user_variables
        ):
            message += session.replay(server)
        return message
