"""Moves idle server connections from one worker to another.

The worker that gives one up only closes its own descriptor: the supervisor's duplicate keeps the
connection open and goes to the heir. What the last session left is discarded there before anybody
gets the connection, so nothing else of it needs to be known. TLS lives in the memory of the worker
that began it; such connections are closed, and only the slot moves.
"""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import asdict
from time import monotonic
from typing import TYPE_CHECKING, cast

from proxy.net.conversation import ConversationProtocol
from proxy.net.dialer import poller
from proxy.net.runtime import spawn
from proxy.session.server_link import ServerLink
from proxy.wire.dialect import MovingDialect
from proxy.workers.desk import pool_key
from proxy.workers.messages import Adopt, GivenUp

if TYPE_CHECKING:
    from proxy.pool.pool import Pool
    from proxy.workers.channel import Channel
    from proxy.workers.desk import Desk
    from proxy.workers.oversight import WorkerOversight


class Mover:
    """Gives up and adopts the connections of one proxy."""

    def __init__(self, desk: Desk, oversight: WorkerOversight, channel: Channel) -> None:
        self._desk = desk
        self._gateway = desk.gateway
        self._oversight = oversight
        self._channel = channel

    def give_up(self, link: ServerLink) -> bool:
        """Leave a connection, lent to nobody and counted as borrowed, to another worker."""
        dialect = self._gateway.dialect
        now = monotonic()
        if not isinstance(dialect, MovingDialect) or link.tls or not self._is_at_rest(link, now):
            return False
        facts = dialect.pack(link.stream)
        number = self._oversight.forget(link)
        if number is None:
            return False
        facts |= {
            "process_id": link.number,
            "cancel_request": link.cancel_request.hex(),
            "expires_at": link.expires_at,
        }
        # Whatever the server says from here on stays in the socket for the heir.
        link.closing_since = now
        transport = cast("asyncio.Transport", link.transport)
        transport.set_protocol(asyncio.Protocol())
        transport.abort()
        self._gateway.servers.discard(link)
        self._gateway.journal.server_closed(link, "moved to another worker")
        link.pool.departed(now)
        proxy = self._gateway.config.name
        usage = asdict(self._desk.usage())
        self._channel.send(GivenUp(proxy, number, list(link.pool.key), facts, usage))
        return True

    def _is_at_rest(self, link: ServerLink, now: float) -> bool:
        transport = cast("asyncio.Transport", link.transport)
        return (
            link.generation == link.pool.generation
            and not link.cancelling
            and link.stream.is_idle()
            and link.stream.reusable()
            and link.usable(now)
            and transport.get_write_buffer_size() == 0
        )

    def adopt(self, message: Adopt, descriptor: int) -> None:
        """Take a connection over, discard what it holds, and lend it."""
        # At once, because the next message may change the quota again.
        self._desk.adopt(message.serial, message.slots)
        pool = self._gateway.pools.get(pool_key(message.pool))
        if pool is None or self._gateway.draining:
            os.close(descriptor)
            self._desk.report()
            return
        pool.connecting += 1
        self._desk.report()
        spawn(self._take_over(pool, message, descriptor), "adopt")

    async def _take_over(self, pool: Pool, message: Adopt, descriptor: int) -> None:
        opened = socket.socket(fileno=descriptor)
        opened.setblocking(False)
        try:
            loop = asyncio.get_running_loop()
            _, connection = await loop.connect_accepted_socket(ConversationProtocol, opened)
        except OSError:
            opened.close()
            pool.connecting -= 1
            pool.target.slot_freed(monotonic())
            return
        self._join(pool, connection, message)

    def _join(self, pool: Pool, connection: ConversationProtocol, message: Adopt) -> None:
        gateway, facts, now = self._gateway, message.facts, monotonic()
        assert isinstance(gateway.dialect, MovingDialect)
        stream = gateway.dialect.unpack(pool.shared, facts)
        lifetime_s = facts["expires_at"] - now
        link = ServerLink(connection.transport, stream, pool, gateway.journal, now, lifetime_s)
        link.number = facts["process_id"]
        link.cancel_request = bytes.fromhex(facts["cancel_request"])
        link.poll = poller(connection.transport)
        gateway.servers.add(link)
        self._oversight.connected(gateway, link)
        gateway.journal.server_connected(link)
        leftover = connection.hand_over(cast("asyncio.Protocol", link))
        pool.connecting -= 1
        pool.borrowed += 1
        link.recovering_since = now
        if leftover:
            stream.receive(leftover)
            link.unattended()
        else:
            link.recover()
