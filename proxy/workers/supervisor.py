"""The supervisor: owns configuration, addresses, budgets and the admin server, and no client."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from proxy import __version__
from proxy.admin import http as admin_http
from proxy.config.show import to_toml
from proxy.errors import CredentialError, ProxyError
from proxy.net import logs, runtime
from proxy.net.doorman import Doorman
from proxy.net.janitor import TICK_S
from proxy.net.listener import open_sockets, remove_socket_file
from proxy.net.opener import plan_for
from proxy.net.tls import ServerTls
from proxy.relay import SERVERS_CLOSE_S, dialer_of
from proxy.reload import Reloader, configure_logs
from proxy.workers.budgets import Budgets
from proxy.workers.member import Member
from proxy.workers.messages import (
    BudgetLearned,
    CancelSession,
    Closed,
    Configure,
    Configured,
    Drain,
    FetchSecret,
    GivenUp,
    Message,
    NewClient,
    Opened,
    ReloadCertificates,
    SnapshotTaken,
    Usage,
    VacateDatabase,
)
from proxy.workers.scrape import Scrape
from proxy.workers.secrets import Answerer

if TYPE_CHECKING:
    from pathlib import Path

    from proxy.admin.http import AdminServer
    from proxy.config.model import Config
    from proxy.wire.dialect import ServerPlan

log = logging.getLogger("tidegate")

START_S: Final = 30.0
"""Seconds the first worker gets to start."""
APPLY_S: Final = 5.0
"""Seconds the workers get to apply a configuration."""
CHANNEL_BACKLOG: Final = 256
"""Messages that may wait for a worker that gets clients."""


class Supervisor:
    """The first process of several."""

    def __init__(self, config: Config, path: Path, processes: int, log_lock: int) -> None:
        self.reloader = Reloader(config, path)
        self.stop = asyncio.Event()
        self.draining = False
        self.members = [Member(index, processes, log_lock) for index in range(processes)]
        self.budgets = Budgets(self._send, self._plan)
        self.doorman = Doorman(self._has_room, self._hand_over)
        self.scrape = Scrape(self)
        self.admin: AdminServer | None = None
        self._endpoints = [
            (name, endpoint) for name, proxy in config.proxy.items() for endpoint in proxy.endpoint
        ]
        self._certificates = {
            name: ServerTls(proxy.tls_cert, proxy.tls_key)
            for name, proxy in config.proxy.items()
            if proxy.tls_cert
        }
        self._answerer = Answerer()
        self._serial = 0
        self._first_ready = asyncio.Event()

    # Life.

    async def run(self) -> None:
        """Serve until told to stop. Raises ``ProxyError`` if it cannot begin."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.stop.set)
        loop.add_signal_handler(signal.SIGINT, self.stop.set)
        loop.add_signal_handler(signal.SIGHUP, self.reloader.ask)
        keepers: list[asyncio.Task[None]] = []
        try:
            await self._open()
            keepers = [runtime.spawn(self._keep(member), "keep") for member in self.members]
            await self._wait_for_first()
            self.doorman.open()
            _event(
                "started",
                version=__version__,
                runtime=runtime.describe(),
                workers=len(self.members),
            )
            upkeep = runtime.spawn(self._upkeep(), "upkeep")
            await self.stop.wait()
            upkeep.cancel()
            await self._drain(keepers)
            # A second SIGTERM while the interpreter ends must not turn a clean exit into a kill.
            loop.remove_signal_handler(signal.SIGTERM)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        finally:
            self.stop.set()
            await self._kill(keepers)
            self._stop_listening()
            self.budgets.close()
            if self.admin is not None:
                await self.admin.close()

    async def _open(self) -> None:
        config = self.reloader.config
        dialers = {name: dialer_of(proxy) for name, proxy in config.proxy.items()}
        self.budgets.configure(config, dialers)
        process = config.process
        for position, (name, endpoint) in enumerate(self._endpoints):
            sockets = await open_sockets(endpoint.listen, allow_public=process.allow_public_bind)
            self.doorman.add(position, sockets)
            _event("listening", proxy=name, address=endpoint.listen)
        if process.admin_listen:
            self.admin = await admin_http.start(
                process.admin_listen,
                self.scrape.latest,
                allow_public=process.allow_public_bind,
                refresh=self.scrape.refresh,
            )
        gc.collect()
        gc.freeze()

    async def _wait_for_first(self) -> None:
        waits = [runtime.spawn(event.wait(), "start") for event in (self._first_ready, self.stop)]
        await asyncio.wait(waits, timeout=START_S, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        if not self._first_ready.is_set() and not self.stop.is_set():
            raise ProxyError(f"no worker started within {START_S:g} seconds")

    async def _keep(self, member: Member) -> None:
        """Start a worker, and another in its place whenever it has died."""
        while not self.stop.is_set():
            await member.start(
                lambda message, descriptor: self._received(member, message, descriptor),
                lambda reason: self._lost(member, reason),
            )
            self.budgets.join(member.index)
            self._configure(member)
            assert member.process is not None
            pid = member.process.pid
            code = await member.ended()
            self.scrape.remember(member)
            self.budgets.leave(member.index)
            if self.draining:
                return
            wait_s = member.backoff_s()
            _event(
                "worker_ended",
                level=logging.ERROR,
                number=member.number,
                pid=pid,
                code=code,
                restart_in_s=wait_s,
            )
            pause = runtime.spawn(self.stop.wait(), "pause")
            await asyncio.wait({pause}, timeout=wait_s)
            pause.cancel()

    def _lost(self, member: Member, reason: str) -> None:
        """A worker's channel has ended: it is dying, or has broken the protocol."""
        member.ready = False
        if reason != "closed":
            _event("worker_lost", level=logging.ERROR, number=member.number, reason=reason)
        process = member.process
        if not self.draining and process is not None and process.returncode is None:
            process.kill()

    async def _upkeep(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            now = monotonic()
            self.budgets.tick()
            if self.reloader.is_due(now):
                self._reload_certificates()
                await self._reload()

    async def _drain(self, keepers: list[asyncio.Task[None]]) -> None:
        grace_s = self.reloader.config.process.shutdown_grace_s
        self.draining = True
        _event("draining", grace_s=grace_s)
        self._stop_listening()
        for member in self.members:
            if member.channel is not None:
                member.send(Drain(grace_s))
        await asyncio.wait(keepers, timeout=grace_s + 2 * SERVERS_CLOSE_S)
        _event("stopped")

    def _stop_listening(self) -> None:
        self.doorman.close()
        for _, endpoint in self._endpoints:
            remove_socket_file(endpoint.listen)
        self._endpoints = []

    async def _kill(self, keepers: list[asyncio.Task[None]]) -> None:
        self.draining = True
        for member in self.members:
            if member.process is not None and member.process.returncode is None:
                member.process.kill()
        if keepers:
            await asyncio.wait(keepers, timeout=SERVERS_CLOSE_S)

    # Messages.

    def _send(self, worker: int, message: Message, descriptor: int) -> None:
        self.members[worker].send(message, descriptor)

    def _received(self, member: Member, message: Message, descriptor: int) -> None:
        match message:
            case Usage():
                member.counted(message)
                self.budgets.usage(member.index, message)
            case Opened():
                self.budgets.opened(member.index, message, descriptor)
            case Closed():
                self.budgets.closed(member.index, message.connection)
            case GivenUp():
                self.budgets.given_up(member.index, message)
            case BudgetLearned():
                self.budgets.learned(message.proxy, message.budget)
            case CancelSession():
                self._forward(message)
            case VacateDatabase():
                self._tell_others(member, message)
            case FetchSecret():
                self._answerer.answer(message, member.send)
            case SnapshotTaken():
                member.took_snapshot(message)
            case Configured():
                self._configured(member, message)
            case _:
                self._lost(member, f"unexpected {type(message).__name__}")

    def _forward(self, message: CancelSession) -> None:
        """Send a cancel request to the worker that owns the session."""
        owner = self.members[message.number % len(self.members)]
        if owner.ready:
            owner.send(message)

    def _tell_others(self, member: Member, message: Message) -> None:
        for other in self.members:
            if other is not member and other.ready:
                other.send(message)

    async def _plan(self, proxy: str, user: str) -> ServerPlan | None:
        """How to log in as a user to cancel what one of its sessions runs."""
        config = self.reloader.config.proxy.get(proxy)
        dialect = self.budgets.accounts[proxy].dialer.dialect
        if config is None or not dialect.cancels_by_login:
            return None
        try:
            return await plan_for(config, dialect, self._answerer.cache, user)
        except CredentialError:
            return None

    # Clients.

    def _has_room(self) -> bool:
        return any(self._can_take(member) for member in self.members)

    def _can_take(self, member: Member) -> bool:
        channel = member.channel
        return member.ready and channel is not None and channel.backlog < CHANNEL_BACKLOG

    def _hand_over(self, endpoint: int, descriptor: int) -> None:
        name = self._endpoints[endpoint][0]
        able = [member for member in self.members if self._can_take(member)]
        if not able:
            os.close(descriptor)
            return
        chosen = min(able, key=lambda member: (member.clients(name), member.all_clients))
        chosen.handed_over(name)
        chosen.send(NewClient(endpoint), descriptor)

    # Configuration.

    def _configure(self, member: Member) -> asyncio.Future[str]:
        self._serial += 1
        member.configured = asyncio.get_running_loop().create_future()
        text = to_toml(self.reloader.config, redacted=False)
        member.send(Configure(self._serial, text))
        return member.configured

    def _configured(self, member: Member, message: Configured) -> None:
        waiting = member.configured
        if waiting is not None and not waiting.done():
            waiting.set_result(message.error)
        if message.error:
            _event(
                "worker_not_configured",
                level=logging.ERROR,
                number=member.number,
                error=message.error,
            )
            if not member.ready:
                self._lost(member, "closed")
        elif not member.ready:
            member.ready = True
            self._first_ready.set()
            assert member.process is not None
            _event("worker_started", number=member.number, pid=member.process.pid)

    async def _reload(self) -> None:
        changes = await self.reloader.look()
        if changes is None:
            return
        configure_logs(self.reloader.config)
        self.budgets.configure(self.reloader.config, {})
        answers = [self._configure(member) for member in self.members if member.ready]
        if answers:
            await asyncio.wait(answers, timeout=APPLY_S)
        _event("reloaded", changes=changes)

    def _reload_certificates(self) -> None:
        for name, tls in self._certificates.items():
            outcome = tls.reload_if_changed()
            if outcome is None:
                continue
            _event("tls_certificate", proxy=name, outcome=outcome)
            for member in self.members:
                if member.ready:
                    member.send(ReloadCertificates())


def _event(name: str, *, level: int = logging.INFO, **fields: Any) -> None:
    logs.event(log, level, name, **fields)


def supervise(config: Config, path: Path, processes: int) -> int:
    """Serve with several workers until SIGTERM or SIGINT; return the exit code."""
    log_lock = os.memfd_create("tidegate-log", os.MFD_CLOEXEC)
    logs.share("supervisor", log_lock)
    configure_logs(config)
    runtime.run(_supervise(config, path, processes, log_lock))
    return 0


async def _supervise(config: Config, path: Path, processes: int, log_lock: int) -> None:
    await Supervisor(config, path, processes, log_lock).run()
