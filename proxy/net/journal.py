"""Tells the log what happens to clients and server connections, and keeps the gauges true."""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING, Any

from proxy.errors import ClientAuthError, CredentialError, ProxyError
from proxy.session.journal import Journal

if TYPE_CHECKING:
    from proxy.net.conversation import ConversationProtocol
    from proxy.net.gateway import Gateway
    from proxy.pool.pool import Pool
    from proxy.session.client_link import ClientLink
    from proxy.session.server_link import ServerLink
    from proxy.wire.dialect import Login

log = logging.getLogger("tidegate")


class GatewayJournal(Journal):
    """The journal of one proxy."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.debug = gateway.config.debug_logging

    def _tell(self, level: int, event: str, **fields: Any) -> None:
        if log.isEnabledFor(level):
            log.log(level, event, extra={"fields": {"proxy": self.gateway.config.name, **fields}})

    def _code(self, error: ProxyError) -> dict[str, object]:
        """The code of an error, as the clients of this engine know it."""
        if self.gateway.config.engine == "mysql":
            return {"errno": getattr(error, "errno", error.mysql_errno)}
        return {"sqlstate": getattr(error, "code", error.sqlstate)}

    # Clients.

    def client_connected(self, client: ClientLink, login: Login) -> None:
        self._tell(
            logging.INFO,
            "client_connected",
            client=client.number,
            user=login.user,
            database=login.database,
            tls=login.tls.version if login.tls is not None else "no",
        )

    def login_failed(self, connection: ConversationProtocol, error: ProxyError) -> None:
        level = logging.WARNING if isinstance(error, ClientAuthError) else logging.INFO
        self._tell(
            level,
            "client_login_failed",
            peer=connection.peername,
            **self._code(error),
            error=str(error),
        )

    def client_closed(self, client: ClientLink, reason: str) -> None:
        self.gateway.clients.pop(client.number, None)
        client.pool.sessions -= 1
        counters = client.counters
        counters.clients -= 1
        counters.clients_closed += 1
        if client.tls:
            counters.clients_tls -= 1
        else:
            counters.clients_no_tls -= 1
        counters.closed_by_reason[reason] = counters.closed_by_reason.get(reason, 0) + 1
        self._tell(logging.INFO, "client_closed", client=client.number, reason=reason)

    def cancel_ignored(self) -> None:
        self._tell(logging.INFO, "cancel_ignored", reason="no such connection or wrong key")

    def errand(self, client: ClientLink) -> None:
        self.gateway.errands.run(client)

    def moves(self, client: ClientLink) -> bool:
        database = client.stream.moving()
        if database is not None:
            self.gateway.errands.move(client, database)
        return database is not None

    def cancel_failed(self, server: ServerLink, error: CredentialError) -> None:
        self._tell(logging.WARNING, "cancel_failed", server=server.number, error=str(error))

    def cancel(self, server: ServerLink) -> None:
        self.gateway.cancel_server(server)

    # Borrowing and pinning.

    def borrowed(self, client: ClientLink, server: ServerLink) -> None:
        self._tell(logging.DEBUG, "borrowed", client=client.number, server=server.number)

    def returned(self, client: ClientLink, server: ServerLink) -> None:
        held_s = round(monotonic() - server.lent_at, 6)
        self._tell(
            logging.DEBUG, "returned", client=client.number, server=server.number, held_s=held_s
        )

    def pinned(self, client: ClientLink, server: ServerLink, reason: str) -> None:
        if self.debug:
            self._tell(
                logging.DEBUG, "pinned", client=client.number, server=server.number, reason=reason
            )

    def unpinned(self, client: ClientLink, server: ServerLink, reason: str) -> None:
        if self.debug:
            self._tell(
                logging.DEBUG, "unpinned", client=client.number, server=server.number, reason=reason
            )

    # Server connections.

    def server_connected(self, server: ServerLink) -> None:
        self._tell(
            logging.INFO,
            "server_connected",
            server=server.number,
            pool=server.pool.name,
            tls="yes" if server.tls else "no",
        )

    def server_closed(self, server: ServerLink, reason: str) -> None:
        closed = server.pool.counters.closed_by_reason
        closed[reason] = closed.get(reason, 0) + 1
        self._tell(
            logging.INFO,
            "server_closed",
            server=server.number,
            pool=server.pool.name,
            reason=reason,
        )

    def server_gone(self, server: ServerLink) -> None:
        self.gateway.servers.discard(server)
        self.gateway.oversight.gone(self.gateway, server)

    def open_failed(self, pool: Pool, error: ProxyError) -> None:
        self._tell(
            logging.WARNING,
            "server_connection_failed",
            pool=pool.name,
            **self._code(error),
            error=str(error),
            retry_in_s=round(pool.retry_at - monotonic(), 3) if pool.retry_at else 0,
        )

    def credential_failed(self, reference: str, error: CredentialError) -> None:
        scheme = reference.partition(":")[0]
        self._tell(logging.ERROR, "credential_failed", scheme=scheme, error=str(error))
