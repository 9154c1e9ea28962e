"""What is asked of a new server connection before it serves: its limits, ``init_query``."""

from __future__ import annotations

from typing import Final

from proxy.errors import ServerProtocolError, ServerRefused
from proxy.postgres.changes import decode_row
from proxy.postgres.constants import DATA_ROW, ERROR_RESPONSE, HOLD_LIMIT_BYTES, READY_FOR_QUERY
from proxy.postgres.hidden import CATALOGUE_QUERY, HiddenEffects, read_catalogue
from proxy.postgres.inspection import inspect
from proxy.postgres.messages import parse_error_fields
from proxy.postgres.settings import quote_literal
from proxy.wire.steps import Conversation, Read, Send

_LIMITS: Final = (
    "SELECT pg_catalog.current_setting('max_connections'),"
    "pg_catalog.current_setting('superuser_reserved_connections'),"
    "coalesce(pg_catalog.current_setting('reserved_connections',true),'0')"
)


def ask(sql: str | bytes) -> Conversation[list[list[bytes | None]]]:
    """Run a simple query and return its rows. Raises ``ServerRefused`` with the server's error."""
    text = sql.encode() if isinstance(sql, str) else sql
    yield Send(b"Q" + (len(text) + 5).to_bytes(4, "big") + text + b"\0")
    rows: list[list[bytes | None]] = []
    refusal: ServerRefused | None = None
    while True:
        header = yield Read(5)
        length = int.from_bytes(header[1:], "big")
        if not 4 <= length <= HOLD_LIMIT_BYTES:
            raise ServerProtocolError("message length out of range")
        payload = yield Read(length - 4)
        if header[0] == DATA_ROW:
            rows.append(decode_row(payload))
        elif header[0] == ERROR_RESPONSE:
            fields = parse_error_fields(payload)
            refusal = ServerRefused(
                fields.get("M", ""), response=header + payload, code=fields.get("C", "XX000")
            )
        elif header[0] == READY_FOR_QUERY:
            if refusal is not None:
                raise refusal
            return rows


def usable_connections() -> Conversation[int]:
    """Connections the server allows: ``max_connections`` less the slots it reserves."""
    rows = yield from ask(_LIMITS)
    try:
        total, superuser, reserved = [int(value or b"0") for value in rows[0]]
    except (IndexError, ValueError) as error:
        raise ServerProtocolError("the server does not tell its max_connections") from error
    return max(1, total - superuser - reserved)


def hidden_effects() -> Conversation[HiddenEffects | None]:
    """Read what functions, triggers and views of the database do to a session.

    ``None`` if nothing, or if this server cannot be asked (PostgreSQL 13 and older).
    """
    try:
        rows = yield from ask(CATALOGUE_QUERY)
    except ServerRefused:
        return None
    return read_catalogue(rows)


def initialise(init_query: str) -> Conversation[dict[str, str]]:
    """Run ``init_query`` and return the settings it made, which sessions start with."""
    yield from ask(init_query)
    effects = inspect(init_query.encode())
    if effects is None or not effects.settings:
        return {}
    names = sorted(effects.settings)
    columns = [b"pg_catalog.current_setting(" + quote_literal(name) + b",true)" for name in names]
    rows = yield from ask(b"SELECT " + b",".join(columns))
    values = zip(names, rows[0], strict=True)
    return {name: value.decode("utf-8", "surrogateescape") for name, value in values if value}
