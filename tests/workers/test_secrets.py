from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from proxy.credentials.base import Credential
from proxy.credentials.cache import LOOK_S, CredentialCache
from proxy.credentials.static import StaticProvider
from proxy.errors import CredentialError
from proxy.workers.messages import FetchSecret, SecretFetched, decode, encode
from proxy.workers.secrets import Answerer, Asker

if TYPE_CHECKING:
    from proxy.workers.messages import Message


class Source:
    """A secrets manager that counts."""

    def __init__(self) -> None:
        self.fetches = 0
        self.fails = False
        self.now = 100.0

    async def fetch(self, user: str) -> Credential:
        self.fetches += 1
        await asyncio.sleep(0)
        if self.fails:
            raise CredentialError("the source is down")
        return Credential(f"{user}-{self.fetches}", expires_at=self.now + 900, username=user)

    def changed(self) -> bool:
        return False


class Place:
    """A supervisor with a source, and workers that ask it."""

    def __init__(self, workers: int) -> None:
        self.source = Source()
        cache = CredentialCache(
            clock=lambda: self.source.now, open_provider=lambda _reference: self.source
        )
        self.answerer = Answerer(cache)
        self.askers = [self._asker() for _ in range(workers)]

    def _asker(self) -> Asker:
        def ask(message: Message) -> None:
            asked = decode(encode(message)[4:])
            assert isinstance(asked, FetchSecret)
            self.answerer.answer(asked, answered)

        def answered(message: Message) -> None:
            answer = decode(encode(message)[4:])
            assert isinstance(answer, SecretFetched)
            asker.answered(answer)

        asker = Asker(ask)
        return asker


async def test_a_stampede_is_one_fetch() -> None:
    place = Place(4)
    providers = [asker.open_provider("vault:x") for asker in place.askers]
    found = await asyncio.gather(*(provider.fetch("app") for provider in providers for _ in "ab"))
    assert place.source.fetches == 1
    assert set(found) == {Credential("app-1", expires_at=1000.0, username="app")}


async def test_a_rejected_secret_is_fetched_again_once_for_all() -> None:
    place = Place(3)
    providers = [asker.open_provider("vault:x") for asker in place.askers]
    for provider in providers:
        await provider.fetch("app")
    place.source.now += LOOK_S
    again = [await provider.fetch("app") for provider in providers]
    assert place.source.fetches == 2
    assert {credential.secret for credential in again} == {"app-2"}


async def test_failures_are_told() -> None:
    place = Place(1)
    place.source.fails = True
    with pytest.raises(CredentialError, match="the source is down"):
        await place.askers[0].open_provider("vault:x").fetch("app")


def test_what_is_at_hand_is_not_asked_for() -> None:
    provider = Asker(lambda _message: None).open_provider("static:secret")
    assert isinstance(provider, StaticProvider)
