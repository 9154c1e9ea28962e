"""What is sent to bring a server connection back to the state it started in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.mysql import pipeline as pl
from proxy.mysql.constants import COM_INIT_DB, COM_RESET_CONNECTION
from proxy.mysql.settings import BASELINE_QUERY
from proxy.mysql.tracking import tracking_sql

if TYPE_CHECKING:
    from proxy.mysql.server_stream import MysqlServerStream


def recover(stream: MysqlServerStream) -> bytes:
    """Roll back and remove what a client left behind; ``b""`` when the connection is clean."""
    if stream.dirty:
        return reset(stream)
    if stream.failed or stream.in_transaction():
        return stream.ask(b"ROLLBACK", pl.CLEAN)
    return b""


def reset(stream: MysqlServerStream) -> bytes:
    """Reset the connection, which rolls back as well, and have it report changes again.

    COM_RESET_CONNECTION leaves the default schema but not ``collation_database``, which
    COM_INIT_DB puts right, and gives character sets the server's defaults, not those of the login
    (observed on MySQL 9.7.4): what it leads to is learned from the first.
    """
    shared = stream.shared
    stream.dirty = False
    stream.settings = shared.after_reset or shared.settings.none
    stream.user_variables = shared.no_user_variables
    stream.insert_id = 0
    stream.last_session = None
    stream.statements.clear()
    stream.obsolete = []
    message = stream.order(COM_RESET_CONNECTION, b"", pl.RESET)
    if stream.schema:
        message += stream.order(COM_INIT_DB, stream.schema, pl.RESET)
    if shared.after_reset is None:
        message += stream.ask(BASELINE_QUERY, pl.AFTER_RESET)
    return message + stream.ask(tracking_sql(mariadb=shared.mariadb), pl.RESET)
