"""The supervisor's side of the budgets: quotas for the workers, custody of their connections.

For each server connection of a worker the supervisor holds a duplicate of its socket. It never
reads or writes it, unless the worker dies: then it closes the sending side, cancels what still
runs, and watches for the server to end its process. Only then is the slot free again.
"""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from proxy.net.runtime import spawn
from proxy.pool.limits import UNKNOWN_LIMIT
from proxy.session.server_link import FAREWELL_S
from proxy.workers.messages import Adopt, GivenUp, Message, Opened, Quota, Usage
from proxy.workers.quota import Grant, Ledger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proxy.config.model import Config
    from proxy.net.dialer import Dialer
    from proxy.wire.dialect import ServerPlan

LOGIN_ENDS_S: Final = 1.0
"""Seconds after a worker's death in which the server ends the processes of logins that were under
way, whose sockets nobody else had."""
CANCEL_AFTER_S: Final = 0.05
"""Seconds that an idle server process gets to notice the end before what it runs is cancelled."""
DRAIN_BYTES: Final = 65536


@dataclass(slots=True)
class Deposit:
    """A server connection of a worker."""

    proxy: str
    descriptor: int
    cancel_request: bytes
    tls: bool
    user: str


@dataclass(slots=True)
class Account:
    """One proxy's budget, and the pools that the workers' clients wait for."""

    ledger: Ledger
    dialer: Dialer
    wanted: dict[int, list[Any]] = field(default_factory=dict)


class Budgets:
    """All budgets of the process. ``send`` sends a message, with a descriptor or -1, to a worker;
    workers are known by their index. ``plan`` says how a proxy logs in as a user to cancel, if it
    has to."""

    def __init__(
        self,
        send: Callable[[int, Message, int], None],
        plan: Callable[[str, str], Awaitable[ServerPlan | None]],
    ) -> None:
        self._send = send
        self._plan = plan
        self.accounts: dict[str, Account] = {}
        self._deposits: dict[int, dict[int, Deposit]] = {}

    def configure(self, config: Config, dialers: dict[str, Dialer]) -> None:
        """Take the budgets of a configuration; those in percent are learned from the target."""
        for name, proxy in config.proxy.items():
            budget = proxy.target_group.max_connections
            account = self.accounts.get(name)
            if account is None:
                ledger = Ledger(budget or UNKNOWN_LIMIT)
                self.accounts[name] = Account(ledger, dialers[name])
            elif budget:
                account.ledger.budget = budget
                self._decide(name)

    def learned(self, proxy: str, budget: int) -> None:
        """A target has said what it allows."""
        self.accounts[proxy].ledger.budget = budget
        self._decide(proxy)

    def join(self, worker: int) -> None:
        """A worker has started."""
        self._deposits[worker] = {}
        for account in self.accounts.values():
            account.ledger.join(worker)

    def leave(self, worker: int) -> None:
        """A worker has ended: wait for what it held to end, too."""
        deposits = self._deposits.pop(worker).values()
        for name, account in self.accounts.items():
            orphans = [deposit for deposit in deposits if deposit.proxy == name]
            account.wanted.pop(worker, None)
            unknown = account.ledger.leave(worker) - len(orphans)
            for orphan in orphans:
                spawn(self._bury(orphan), "bury")
            if unknown > 0:
                asyncio.get_running_loop().call_later(LOGIN_ENDS_S, self._release, name, unknown)
            else:
                # More connections than it was known to hold: count each until it is gone.
                account.ledger.held -= unknown
            self._decide(name)

    def usage(self, worker: int, usage: Usage) -> None:
        """A worker has said how it uses a quota."""
        account = self.accounts[usage.proxy]
        account.wanted[worker] = usage.wanted
        account.ledger.usage(
            worker,
            serial=usage.serial,
            quota=usage.quota,
            used=usage.used,
            idle=usage.idle,
            coming=usage.coming,
            waiting=usage.waiting,
        )
        self._decide(usage.proxy)

    def tick(self) -> None:
        """Look at every budget: time alone may allow a correction."""
        for name in self.accounts:
            self._decide(name)

    def opened(self, worker: int, message: Opened, descriptor: int) -> None:
        """Keep the duplicate of a connection."""
        self._deposits[worker][message.connection] = Deposit(
            message.proxy,
            descriptor,
            bytes.fromhex(message.cancel_request),
            message.tls,
            message.user,
        )

    def closed(self, worker: int, connection: int) -> None:
        """A connection is gone."""
        deposit = self._deposits[worker].pop(connection, None)
        if deposit is not None:
            os.close(deposit.descriptor)

    def given_up(self, worker: int, message: GivenUp) -> None:
        """Hand a connection to the worker that needs it most, or end it."""
        deposit = self._deposits[worker].pop(message.connection)
        account = self.accounts[message.proxy]
        ledger = account.ledger
        ledger.held += 1
        heirs = [heir for heir, keys in account.wanted.items() if message.pool in keys]
        heir = ledger.neediest([heir for heir in heirs if heir != worker])
        if isinstance(heir, int):
            grant = ledger.adopt(heir)
            adopt = Adopt(message.proxy, grant.serial, grant.slots, message.pool, message.facts)
            self._send(heir, adopt, deposit.descriptor)
        else:
            spawn(self._bury(deposit), "bury")
        self.usage(worker, Usage(**message.usage))

    def close(self) -> None:
        """Let go of every duplicate."""
        for deposits in self._deposits.values():
            for deposit in deposits.values():
                os.close(deposit.descriptor)
            deposits.clear()

    def _decide(self, proxy: str) -> None:
        account = self.accounts[proxy]
        for grant in account.ledger.decide(monotonic()):
            self._tell(proxy, account, grant)

    def _tell(self, proxy: str, account: Account, grant: Grant) -> None:
        worker = grant.worker
        assert isinstance(worker, int)
        wanted: list[Any] = []
        for other, keys in account.wanted.items():
            if other != worker:
                wanted += [key for key in keys if key not in wanted]
        quota = Quota(proxy, grant.serial, grant.slots, account.ledger.budget, grant.gently, wanted)
        self._send(worker, quota, -1)

    def _release(self, proxy: str, slots: int) -> None:
        self.accounts[proxy].ledger.release(slots)
        self._decide(proxy)

    async def _bury(self, deposit: Deposit) -> None:
        """End a connection that nobody uses any more; its slot is free when the server has."""
        dialer = self.accounts[deposit.proxy].dialer
        with socket.socket(fileno=deposit.descriptor) as connection:
            connection.setblocking(False)
            ended = spawn(_end_of(connection), "end of connection")
            done, _ = await asyncio.wait({ended}, timeout=CANCEL_AFTER_S)
            if not done:
                plan = await self._plan(deposit.proxy, deposit.user)
                await dialer.cancel(deposit.cancel_request, tls=deposit.tls, plan=plan)
                await asyncio.wait({ended}, timeout=FAREWELL_S)
            ended.cancel()
            await asyncio.wait({ended})
        self._release(deposit.proxy, 1)


async def _end_of(connection: socket.socket) -> None:
    """Say that we send no more, and wait for the server to close its side."""
    loop = asyncio.get_running_loop()
    try:
        connection.shutdown(socket.SHUT_WR)
        while await loop.sock_recv(connection, DRAIN_BYTES):
            pass
    except OSError:
        return
