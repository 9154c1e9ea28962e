"""How a Parse under way on a server connection ends: described, or discarded by the server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.postgres import pipeline as pl

if TYPE_CHECKING:
    from proxy.postgres.pipeline import Reply
    from proxy.postgres.prepared import Preparation
    from proxy.postgres.server_stream import PostgresServerStream


def abandon(server: PostgresServerStream, dropped: list[Reply]) -> None:
    """Forget what was being prepared by messages that the server has discarded."""
    client = server.client
    if client is not None and dropped:
        client.statements.restore_unnamed(server, dropped)
    for reply in reversed(dropped):
        preparation = reply.preparation
        if preparation is None or reply.kind == pl.OWN_DESCRIBE:
            continue
        if reply.kind == pl.CLOSE:
            if client is not None:
                client.statements.restore(preparation.client_name, preparation.statement, server)
            continue
        server.statements.forget(preparation.statement)
        if client is not None and reply.kind == pl.PARSE:
            client.statements.forget(preparation)
    server.resume = True


def described(server: PostgresServerStream, preparation: Preparation, description: bytes) -> None:
    """A statement is prepared and described: find out which statement it is."""
    statement = preparation.statement
    client = server.client
    if statement.description is None:
        statement.description = description
        known = server.shared.statements.intern(statement)
        if known is not statement:
            if client is not None and known in server.statements.names:
                client.statements.lose(known, server)
            server.statements.adopt(known, statement)
            if client is not None:
                client.statements.replace(preparation.client_name, statement, known)
    elif statement.description != description:
        server.statements.drop(statement)
        if client is not None:
            client.statements.stale = statement
    server.resume = True


def note_discard(server: PostgresServerStream, tag: bytes) -> None:
    """DISCARD ALL and DEALLOCATE ALL drop what the extended protocol prepared, too."""
    if tag not in (b"DISCARD ALL", b"DEALLOCATE ALL"):
        return
    client = server.client if server.pipeline.kind() < pl.OWN else None
    if client is not None:
        client.statements.forget_all(server)
    server.statements.clear()
    for reply in server.pipeline.pending():
        made = reply.preparation
        if made is None or not made.server_name or reply.kind == pl.OWN_DESCRIBE:
            continue
        # Its Parse was sent behind the message that has just been answered.
        server.statements.names[made.statement] = made.server_name
        if client is not None and made.client_name:
            client.statements.named[made.client_name] = made.statement
