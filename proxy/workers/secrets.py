"""Secrets from outside are fetched by the supervisor, once for all workers.

What is in the configuration, the environment or a file, each worker reads itself. A plug-in's
source, such as a secrets manager, is asked by the supervisor alone: a stampede on it does not
multiply with the workers, and all of them hold the same secret.
"""

from __future__ import annotations

import asyncio
from itertools import count
from typing import TYPE_CHECKING

from proxy.credentials import registry
from proxy.credentials.base import Credential
from proxy.credentials.cache import CredentialCache
from proxy.credentials.reference import split
from proxy.errors import CredentialError
from proxy.net.runtime import spawn
from proxy.workers.messages import FetchSecret, SecretFetched

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.credentials.base import CredentialProvider
    from proxy.workers.messages import Message


class Asker:
    """A worker's side: makes providers that ask the supervisor."""

    def __init__(self, send: Callable[[Message], None]) -> None:
        self._send = send
        self._serials = count(1)
        self._waiting: dict[int, asyncio.Future[Credential]] = {}

    def open_provider(self, reference: str) -> CredentialProvider:
        """Make the provider of a reference. Raises ``CredentialError``."""
        scheme, _ = split(reference)
        if scheme in registry.BUILT_IN:
            return registry.open_provider(reference)
        return _Distant(self, reference)

    async def fetch(self, reference: str, user: str, *, again: bool) -> Credential:
        """Ask for a secret; ``again`` if the one given before is of no use any more."""
        serial = next(self._serials)
        answer: asyncio.Future[Credential] = asyncio.get_running_loop().create_future()
        self._waiting[serial] = answer
        self._send(FetchSecret(serial, reference, user, again))
        try:
            return await answer
        finally:
            del self._waiting[serial]

    def answered(self, message: SecretFetched) -> None:
        """Pass an answer on to who waits for it."""
        answer = self._waiting.get(message.serial)
        if answer is None or answer.done():
            return
        if message.error:
            answer.set_exception(CredentialError(message.error))
        else:
            answer.set_result(Credential(message.secret, message.expires_at, message.username))


class _Distant:
    """A provider whose source the supervisor asks."""

    def __init__(self, asker: Asker, reference: str) -> None:
        self._asker = asker
        self._reference = reference
        self._fetched = False

    async def fetch(self, user: str) -> Credential:
        again, self._fetched = self._fetched, True
        return await self._asker.fetch(self._reference, user, again=again)

    def changed(self) -> bool:
        return False


class Answerer:
    """The supervisor's side: one cache for all workers."""

    def __init__(self, cache: CredentialCache | None = None) -> None:
        self.cache = cache or CredentialCache()

    def answer(self, message: FetchSecret, send: Callable[[Message], None]) -> None:
        """Fetch what a worker asks for, and send it."""
        spawn(self._answer(message, send), "fetch secret")

    async def _answer(self, message: FetchSecret, send: Callable[[Message], None]) -> None:
        reference, user = message.reference, message.user
        if message.again:
            self.cache.invalidate(reference, user)
        try:
            held = await self.cache.get(reference, user)
        except CredentialError as error:
            send(SecretFetched(message.serial, "", None, None, str(error) or "failed"))
            return
        expires_at = self.cache.expires_at(reference, user)
        send(SecretFetched(message.serial, held.secret, held.username, expires_at, ""))
