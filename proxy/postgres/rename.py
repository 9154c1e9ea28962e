"""Statement names in texts: the client's towards the server, the server's towards the client."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from proxy.postgres import pipeline as pl
from proxy.postgres.prepared import SERVER_NAME_PREFIX, STALE_NAME, unguessed
from proxy.postgres.tokens import identifier

if TYPE_CHECKING:
    from proxy.postgres.client_statements import ClientStatements
    from proxy.postgres.client_stream import PostgresClientStream
    from proxy.postgres.server_stream import PostgresServerStream

_SERVER_NAME: Final = re.compile(re.escape(SERVER_NAME_PREFIX) + rb"\d+")
_STALE_ERROR: Final = (
    b"SERROR\0VERROR\0C0A000\0Mcached plan must not change result type\0"
    b"Fplancache.c\0RRevalidateCachedQuery\0\0"
)


def rename_in_error(
    message: bytes, client: PostgresClientStream, server: PostgresServerStream
) -> bytes:
    """Put the client's statement names back into an ErrorResponse (a whole message)."""
    payload = message[5:]
    if STALE_NAME in payload:
        return _stale_error(client, describing=server.pipeline.kind() == pl.DESCRIBE)
    names = _client_names(client, server)
    return _message(b"E", _SERVER_NAME.sub(lambda match: names.get(match[0], match[0]), payload))


def _client_names(client: PostgresClientStream, server: PostgresServerStream) -> dict[bytes, bytes]:
    """The client's names by the server's, also those whose Close is still on its way."""
    under_way = [reply.preparation for reply in server.pipeline.pending()]
    found = [(made.client_name, made.statement) for made in under_way if made and made.client_name]
    found += client.statements.named.items()
    known = server.statements.names
    names = {known[statement]: name for name, statement in found if statement in known}
    return {**(client.statements.lost or {}), **names}


def _stale_error(client: PostgresClientStream, *, describing: bool) -> bytes:
    """What a server says of a statement that would now return something else."""
    error = _message(b"E", _STALE_ERROR)
    if not describing:
        return error
    return _message(b"t", client.statements.stale_parameters) + error


def _message(kind: bytes, payload: bytes) -> bytes:
    return kind + (len(payload) + 4).to_bytes(4, "big") + payload


def rename_in_text(
    sql: bytes,
    places: list[tuple[int, int]],
    statements: ClientStatements,
    server: PostgresServerStream,
) -> bytes:
    """Put server-side names into a text where SQL names statements of the extended protocol."""
    for start, end in reversed(places):
        name = identifier(sql[start:end])
        statement = statements.named.get(name)
        server_name = server.statements.names.get(statement) if statement is not None else None
        if server_name is not None:
            sql = sql[:start] + server_name + sql[end:]
        elif name.startswith(SERVER_NAME_PREFIX):
            quoted = unguessed(name).replace(b'"', b'""')
            sql = sql[:start] + b'"' + quoted + b'"' + sql[end:]
    return sql
