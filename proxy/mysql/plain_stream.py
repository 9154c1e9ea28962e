"""The commands of a MySQL client that nearly all commands are, told at a glance.

An ordinary query, and the execution of a statement that the server connection has prepared, go on
as they are, but for the statement's id, where the connection holds what the session carries. What
is said of them here is what ``client_stream.py`` and ``statement_stream.py`` would say after a
closer look.

Source: source documentation, "COM_STMT_EXECUTE".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.mysql import pipeline as pl
from proxy.mysql.constants import COM_STMT_EXECUTE, MAX_PAYLOAD_BYTES
from proxy.mysql.statement_stream import StatementStream

if TYPE_CHECKING:
    from mypy_extensions import i64

    from proxy.mysql.client_statements import ClientStatement
    from proxy.mysql.server_statements import ServerStatement
    from proxy.mysql.server_stream import MysqlServerStream

_FLAGS: Final = 9
"""Place of COM_STMT_EXECUTE's flags, its header included; four bytes behind them follow the null
bitmap and the flag that says whether types are sent."""
_NULL_BITMAP: Final = 14


class PlainStream(StatementStream):
    """The part of a client's protocol state that passes plain commands on."""

    def is_level_with(self, server: MysqlServerStream) -> bool:
        """Whether the server connection holds what the session carries: nothing goes ahead."""
        session = self.session
        return not (
            server.settings is not session.settings
            or server.user_variables is not session.user_variables
            or server.obsolete
            or server.insert_id < 0
            or server.schema != session.schema
            or not session.schema  # It may be choosing one.
            or session.due.catalogue is not None
            or self.shared.hidden is not None
        )

    def begin_plainly(self, server: MysqlServerStream, data: bytes, pos: i64, stop: i64) -> bool:
        """Note a query that goes on as it is; say whether this is one."""
        known = pos == 0 and stop == self.plain_bytes
        self.plain_bytes = 0
        if not (known or self.is_plain_query(data, pos, stop)) or not self.is_level_with(server):
            return False
        self.session.begins(None)
        server.push(pl.RESULT_REPLY)
        return True

    def execute_plainly(self, server: MysqlServerStream, data: bytes, length: int) -> bytes | None:
        """Note an execution that needs nothing else; return what is sent, ``None`` if it is none.

        ``data`` begins with the command's header.
        """
        session = self.session
        if (
            data[4] != COM_STMT_EXECUTE
            or not _NULL_BITMAP <= length + 4 == len(data) < MAX_PAYLOAD_BYTES
            or data[_FLAGS] != 0
            or session.holding
            or not self.is_level_with(server)
        ):
            return None
        number = data[5] | (data[6] << 8) | (data[7] << 16) | (data[8] << 24)
        statement = self.statements.get(number)
        if statement is None or statement.effects is not None or statement.hidden is not None:
            return None
        held = server.statements.find(statement.statement)
        if held is None or not has_types(data, statement, held):
            return None
        self.executing = None
        session.begins(None)
        server.push(pl.RESULT_REPLY)
        if held.number == number:
            return data
        return data[:5] + held.encoded + data[9:]


def has_types(data: bytes, statement: ClientStatement, held: ServerStatement) -> bool:
    """Whether the server knows the types of an execution that leaves them out, as most do."""
    if statement.parameters == 0:
        return True
    bound: i64 = _NULL_BITMAP + ((statement.parameters + 7) >> 3)
    return bound < len(data) and data[bound] == 0 and held.types == statement.types
