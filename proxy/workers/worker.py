"""A relay worker: the process that carries clients handed to it by the supervisor."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
from time import monotonic
from typing import TYPE_CHECKING, Final

from proxy.config.load import parse
from proxy.credentials.cache import CredentialCache
from proxy.errors import ConfigError
from proxy.metrics.merge import to_document
from proxy.net import logs, runtime
from proxy.net.janitor import TICK_S
from proxy.relay import Relay
from proxy.reload import configure_logs
from proxy.wire.dialect import Cancel
from proxy.workers.channel import Channel
from proxy.workers.messages import (
    Adopt,
    CancelSession,
    Configure,
    Configured,
    Drain,
    Message,
    NewClient,
    Quota,
    ReloadCertificates,
    SecretFetched,
    SnapshotTaken,
    TakeSnapshot,
    VacateDatabase,
)
from proxy.workers.oversight import WorkerOversight
from proxy.workers.secrets import Asker

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.net.listener import Listener

log = logging.getLogger("tidegate")


REPORT_S: Final = 0.05
"""Seconds between looks at whether a quota is used differently."""


class Worker:
    """One relay worker. ``index`` counts from 0."""

    def __init__(self, index: int, processes: int, control: socket.socket) -> None:
        self._channel = Channel(control, self._received, self._orphaned)
        self._oversight = WorkerOversight(index, processes, self._channel)
        self._asker = Asker(self._channel.send)
        self._relay: Relay | None = None
        self._grace_s: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._actions: dict[type[Message], Callable[..., None]] = {
            Configure: self._configure,
            NewClient: self._admit,
            Quota: self._obey,
            Adopt: self._adopt,
            CancelSession: self._cancel,
            VacateDatabase: self._vacate,
            TakeSnapshot: self._take_snapshot,
            ReloadCertificates: self._reload_certificates,
            SecretFetched: self._asker.answered,
            Drain: self._drain,
        }

    async def run(self) -> None:
        """Serve until the supervisor says drain, or is gone."""
        loop = asyncio.get_running_loop()
        # The supervisor decides; a terminal or a service manager may signal the whole group.
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
            loop.add_signal_handler(number, _ignore)
        upkeep = runtime.spawn(self._upkeep(), "upkeep")
        grace_s = await self._grace_s
        if self._relay is not None:
            await self._relay.drain(grace_s)
        upkeep.cancel()
        self._channel.close()

    def _received(self, message: Message, descriptor: int) -> None:
        action = self._actions[type(message)]
        if message.DESCRIPTORS:
            action(message, descriptor)
        else:
            action(message)

    def _orphaned(self, reason: str) -> None:
        """Without a supervisor there is no budget, and nobody brings clients."""
        logs.event(log, logging.ERROR, "supervisor_lost", reason=reason)
        if not self._grace_s.done():
            grace_s = self._relay.config.process.shutdown_grace_s if self._relay else 0.0
            self._grace_s.set_result(grace_s)

    def _drain(self, message: Drain) -> None:
        if not self._grace_s.done():
            self._grace_s.set_result(message.grace_s)

    def _configure(self, message: Configure) -> None:
        try:
            config = parse(message.text, source="configuration")
            configure_logs(config)
            if self._relay is None:
                credentials = CredentialCache(open_provider=self._asker.open_provider)
                self._relay = Relay(config, self._oversight, credentials)
                # What start-up made will never be garbage: keep it out of every collection.
                gc.collect()
                gc.freeze()
            else:
                self._relay.reconfigure(config)
        except ConfigError as error:
            self._channel.send(Configured(message.serial, str(error)))
        else:
            self._channel.send(Configured(message.serial, ""))

    def _admit(self, message: NewClient, descriptor: int) -> None:
        if self._relay is None:
            os.close(descriptor)
            return
        listener = self._relay.listeners[message.endpoint]
        runtime.spawn(self._join(listener, socket.socket(fileno=descriptor)), "admit")

    async def _join(self, listener: Listener, client: socket.socket) -> None:
        try:
            await listener.admit(client)
        finally:
            # Not before: a report that goes out meanwhile would count it neither as on the way
            # nor as here.
            self._oversight.desks[listener.gateway.config.name].accepted += 1

    def _obey(self, message: Quota) -> None:
        self._oversight.desks[message.proxy].obey(message, monotonic())

    def _adopt(self, message: Adopt, descriptor: int) -> None:
        self._oversight.movers[message.proxy].adopt(message, descriptor)

    def _cancel(self, message: CancelSession) -> None:
        gateway = self._oversight.desks[message.proxy].gateway
        secret = bytes.fromhex(message.secret)
        gateway.cancel(Cancel(message.number, secret, message.user, message.whole))

    def _vacate(self, message: VacateDatabase) -> None:
        gateway = self._oversight.desks[message.proxy].gateway
        gateway.errands.vacating.begin(message.database, None)

    def _take_snapshot(self, message: TakeSnapshot) -> None:
        if self._relay is not None:
            document = to_document(self._relay.snapshot())
            self._channel.send(SnapshotTaken(message.serial, document))

    def _reload_certificates(self, _message: ReloadCertificates) -> None:
        if self._relay is not None:
            self._relay.reload_certificates(quietly=True)

    async def _upkeep(self) -> None:
        ticked = monotonic()
        while True:
            await asyncio.sleep(REPORT_S)
            now = monotonic()
            if self._relay is not None and now - ticked >= TICK_S:
                ticked = now
                self._relay.tick(now)
            for desk in self._oversight.desks.values():
                desk.report()


def _ignore() -> None:
    """Take a signal and do nothing."""


def work(index: int, processes: int, control: int, log_lock: int) -> int:
    """Be a worker until told to end; return the exit code."""
    logs.share(f"{index + 1}", log_lock)
    runtime.run(_work(index, processes, control))
    return 0


async def _work(index: int, processes: int, control: int) -> None:
    await Worker(index, processes, socket.socket(fileno=control)).run()
