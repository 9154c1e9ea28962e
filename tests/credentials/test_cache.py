"""The cache of secrets, with a source and a clock that the test moves."""

from __future__ import annotations

import asyncio
import logging

import pytest

from proxy.credentials.base import Credential
from proxy.credentials.cache import (
    BACKOFF_FIRST_S,
    BACKOFF_MOST_S,
    LOOK_S,
    OUTAGE_S,
    REFRESH_AHEAD_S,
    CredentialCache,
    Held,
)
from proxy.errors import CredentialError


class Source:
    """A provider: gives what it is told to, when ``gate`` is open."""

    def __init__(self) -> None:
        self.answer: Credential | BaseException = Credential("one")
        self.gate = asyncio.Event()
        self.gate.set()
        self.fetches = 0
        self.looks = 0
        self.is_changed: bool | Exception = False
        self.users: list[str] = []
        self.opened: list[str] = []

    def open(self, reference: str) -> Source:
        self.opened.append(reference)
        return self

    async def fetch(self, user: str) -> Credential:
        self.fetches += 1
        self.users.append(user)
        answer = self.answer
        self.is_changed = False
        await self.gate.wait()
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def changed(self) -> bool:
        self.looks += 1
        if isinstance(self.is_changed, Exception):
            raise self.is_changed
        return self.is_changed


class Clock:
    """Monotonic time that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def source() -> Source:
    return Source()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def cache(source: Source, clock: Clock) -> CredentialCache:
    return CredentialCache(clock=clock, open_provider=source.open)


async def get(cache: CredentialCache) -> Held:
    return await cache.get("test:x", "app")


async def turns() -> None:
    """Let everything that can run do so."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_secret_is_fetched_once(cache: CredentialCache, source: Source) -> None:
    held = await get(cache)
    assert (held.secret, held.username) == ("one", None)
    assert await get(cache) is held
    assert source.fetches == 1
    assert "secret" not in repr(held)


async def test_each_reference_and_user_is_its_own(cache: CredentialCache, source: Source) -> None:
    one = await cache.get("test:x", "app")
    two = await cache.get("test:x", "other")
    three = await cache.get("test:y", "app")
    assert len({one.generation, two.generation, three.generation}) == 3
    assert source.users == ["app", "other", "app"]
    assert source.opened == ["test:x", "test:x", "test:y"]


async def test_all_who_wait_share_one_fetch(cache: CredentialCache, source: Source) -> None:
    source.gate.clear()
    waiting = [asyncio.create_task(get(cache)) for _ in range(50)]
    await turns()
    assert source.fetches == 1
    source.gate.set()
    assert len({id(held) for held in await asyncio.gather(*waiting)}) == 1


async def test_all_who_wait_share_one_failure(cache: CredentialCache, source: Source) -> None:
    source.gate.clear()
    source.answer = CredentialError("gone", detail="why")
    waiting = [asyncio.create_task(get(cache)) for _ in range(5)]
    await turns()
    source.gate.set()
    errors = await asyncio.gather(*waiting, return_exceptions=True)
    assert {(str(e), e.detail) for e in errors if isinstance(e, CredentialError)} == {
        ("gone", "why")
    }
    assert len({id(error) for error in errors}) == 5
    assert source.fetches == 1


async def test_a_cancelled_caller_does_not_cancel_the_others(
    cache: CredentialCache, source: Source
) -> None:
    source.gate.clear()
    first, second = (asyncio.create_task(get(cache)) for _ in range(2))
    await turns()
    first.cancel()
    await turns()
    assert first.cancelled()
    source.gate.set()
    assert (await second).secret == "one"
    assert source.fetches == 1


async def test_a_fetch_that_nobody_waits_for_any_more_is_kept(
    cache: CredentialCache, source: Source
) -> None:
    source.gate.clear()
    caller = asyncio.create_task(get(cache))
    await turns()
    caller.cancel()
    await turns()
    source.gate.set()
    await turns()
    await get(cache)
    assert source.fetches == 1


async def test_a_change_at_the_source_is_noticed_within_a_second(
    cache: CredentialCache, source: Source, clock: Clock
) -> None:
    old = await get(cache)
    source.answer = Credential("two")
    source.is_changed = True
    clock.now += LOOK_S / 2
    assert await get(cache) is old
    assert source.looks == 0
    clock.now += LOOK_S / 2
    new = await get(cache)
    assert new.secret == "two"
    assert new.generation > old.generation
    assert source.looks == 1


async def test_a_source_is_looked_at_once_a_second(
    cache: CredentialCache, source: Source, clock: Clock
) -> None:
    await get(cache)
    for _ in range(100):
        clock.now += LOOK_S / 10
        await get(cache)
    assert 9 <= source.looks <= 10
    assert source.fetches == 1


async def test_what_was_derived_goes_only_with_the_secret(
    cache: CredentialCache, source: Source, clock: Clock
) -> None:
    old = await get(cache)
    old.derived["key"] = 1
    source.is_changed = True
    clock.now += LOOK_S
    same = await get(cache)
    assert source.fetches == 2
    assert (same.generation, same.derived) == (old.generation, {"key": 1})
    source.is_changed = True
    source.answer = Credential("two")
    clock.now += LOOK_S
    new = await get(cache)
    assert new.derived == {}
    assert old.derived == {"key": 1}


async def test_another_user_name_is_another_secret(
    cache: CredentialCache, source: Source, clock: Clock
) -> None:
    old = await get(cache)
    source.answer = Credential("one", username="other")
    source.is_changed = True
    clock.now += LOOK_S
    new = await get(cache)
    assert new.username == "other"
    assert new.generation > old.generation


async def test_a_secret_is_fetched_ahead_of_its_expiry_without_waiting(
    cache: CredentialCache, source: Source, clock: Clock
) -> None:
    source.answer = Credential("one", expires_at=clock.now + 900)
    old = await get(cache)
    clock.now += 900 - REFRESH_AHEAD_S - 0.1
    await get(cache)
    assert source.fetches == 1
    source.answer = Credential("two", expires_at=clock.now + 1800)
    source.gate.clear()
    clock.now += 0.2
    assert await get(cache) is old
    assert await get(cache) is old
    await turns()
    assert source.fetches == 2
    source.gate.set()
    await turns()
    assert (await get(cache)).secret == "two"
    assert source.fetches == 2


async def test_a_short_life_is_halved(cache: CredentialCache, source: Source, clock: Clock) -> None:
    source.answer = Credential("one", expires_at=clock.now + 10)
    await get(cache)
    clock.now += 4.9
    await get(cache)
    await turns()
    assert source.fetches == 1
    clock.now += 0.2
    await get(cache)
    await turns()
    assert source.fetches == 2


async def test_an_expired_secret_is_never_given(
    cache: CredentialCache, source: Source, clock: Clock
) -> None:
    source.answer = Credential("one", expires_at=clock.now + 10)
    await get(cache)
    clock.now += 10
    source.answer = CredentialError("gone")
    with pytest.raises(CredentialError, match="gone"):
        await get(cache)
    source.answer = Credential("two", expires_at=clock.now + 10)
    clock.now += BACKOFF_FIRST_S
    assert (await get(cache)).secret == "two"


async def test_a_secret_expired_on_arrival_is_refused(
    cache: CredentialCache, source: Source, clock: Clock
) -> None:
    source.answer = Credential("one", expires_at=clock.now)
    with pytest.raises(CredentialError, match="expired already"):
        await get(cache)


async def test_a_failed_refresh_leaves_the_secret_until_it_expires(
    cache: CredentialCache, source: Source, clock: Clock
) -> None:
    source.answer = Credential("one", expires_at=clock.now + 900)
    old = await get(cache)
    source.answer = CredentialError("gone")
    clock.now += 900 - REFRESH_AHEAD_S
    for _ in range(int(REFRESH_AHEAD_S)):
        assert await get(cache) is old
        await turns()
        clock.now += 0.99
    assert 5 <= source.fetches <= 10
    clock.now += 1
    with pytest.raises(CredentialError, match="gone"):
        await get(cache)


async def test_a_broken_source_is_not_hammered(
    cache: CredentialCache, source: Source, clock: Clock
) -> None:
    source.answer = CredentialError("gone")
    for _ in range(1200):
        with pytest.raises(CredentialError, match="gone"):
            await get(cache)
        clock.now += 0.1
    # 0.5 + 1 + 2 + 4 + 8 + 16 seconds, then every 30.
    assert 8 <= source.fetches <= 10
    source.answer = Credential("two")
    clock.now += BACKOFF_MOST_S
    assert (await get(cache)).secret == "two"


async def test_back_off_begins_anew_after_a_success(
    cache: CredentialCache, source: Source, clock: Clock
) -> None:
    for _ in range(6):
        source.answer = CredentialError("gone")
        with pytest.raises(CredentialError):
            await get(cache)
        clock.now += BACKOFF_MOST_S
    source.answer = Credential("one", expires_at=clock.now + 100)
    await get(cache)
    clock.now += 100
    source.answer = CredentialError("gone")
    with pytest.raises(CredentialError):
        await get(cache)
    source.answer = Credential("two")
    clock.now += BACKOFF_FIRST_S
    assert (await get(cache)).secret == "two"


async def test_a_source_put_right_is_believed_before_the_back_off_ends(
    cache: CredentialCache, source: Source, clock: Clock
) -> None:
    source.answer = CredentialError("gone")
    for _ in range(8):
        with pytest.raises(CredentialError):
            await get(cache)
        clock.now += BACKOFF_MOST_S
    with pytest.raises(CredentialError):
        await get(cache)
    source.answer = Credential("two")
    source.is_changed = True
    clock.now += LOOK_S
    assert (await get(cache)).secret == "two"


async def test_an_outage_of_the_source_is_borne_for_a_while(
    cache: CredentialCache,
    source: Source,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    old = await get(cache)
    source.answer = CredentialError("file:/x is empty")
    source.is_changed = True
    clock.now += LOOK_S
    with caplog.at_level(logging.WARNING):
        assert await get(cache) is old
    assert "credential_stale" in caplog.text
    began = clock.now
    clock.now = began + OUTAGE_S - 0.1
    assert await get(cache) is old
    clock.now = began + OUTAGE_S
    with pytest.raises(CredentialError, match="is empty"):
        await get(cache)
    source.answer = Credential("one")
    clock.now += BACKOFF_MOST_S
    assert await get(cache) is old


async def test_a_rejected_secret_is_fetched_again_at_most_once_a_second(
    cache: CredentialCache, source: Source, clock: Clock
) -> None:
    old = await get(cache)
    for _ in range(10):
        cache.invalidate("test:x", "app")
        assert await get(cache) is old
    assert source.fetches == 1
    clock.now += LOOK_S
    source.answer = Credential("two")
    assert (await get(cache)).secret == "two"
    clock.now += LOOK_S
    await get(cache)
    assert source.fetches == 2


async def test_a_rejection_during_a_fetch_is_not_lost(
    cache: CredentialCache, source: Source, clock: Clock
) -> None:
    await get(cache)
    cache.invalidate("test:x", "app")
    clock.now += LOOK_S
    source.gate.clear()
    caller = asyncio.create_task(get(cache))
    await turns()
    cache.invalidate("test:x", "app")
    source.gate.set()
    await caller
    source.answer = Credential("two")
    clock.now += LOOK_S
    assert (await get(cache)).secret == "two"


async def test_invalidating_what_is_not_held_does_nothing(
    cache: CredentialCache, source: Source
) -> None:
    cache.invalidate("test:x", "app")
    await get(cache)
    assert source.fetches == 1


@pytest.mark.parametrize(
    ("mistake", "told"),
    [
        (ValueError("the secret is hunter2"), "failed: ValueError"),
        (TimeoutError(), "did not answer"),
        (asyncio.CancelledError(), "cut short"),
    ],
)
async def test_a_plug_ins_mistake_is_told_by_its_type(
    cache: CredentialCache, source: Source, mistake: BaseException, told: str
) -> None:
    source.answer = mistake
    with pytest.raises(CredentialError, match=told) as caught:
        await get(cache)
    assert "hunter2" not in str(caught.value) + caught.value.detail
    assert "hunter2" not in str(caught.value.__cause__)


async def test_a_plug_in_that_cannot_say_whether_it_changed_has_not(
    cache: CredentialCache, source: Source, clock: Clock
) -> None:
    await get(cache)
    source.is_changed = RuntimeError()
    clock.now += LOOK_S
    await get(cache)
    assert (source.looks, source.fetches) == (1, 1)


async def test_a_source_that_never_answers_is_given_up(source: Source, clock: Clock) -> None:
    cache = CredentialCache(clock=clock, open_provider=source.open, fetch_timeout_s=0.01)
    source.gate.clear()
    with pytest.raises(CredentialError, match="did not answer"):
        await get(cache)


async def test_a_provider_that_cannot_be_made_is_tried_again_later(clock: Clock) -> None:
    tried = []

    def refuse(reference: str) -> Source:
        tried.append(reference)
        raise CredentialError("its scheme is unknown")

    cache = CredentialCache(clock=clock, open_provider=refuse)
    for _ in range(3):
        with pytest.raises(CredentialError, match="scheme is unknown"):
            await get(cache)
    assert len(tried) == 1
    clock.now += BACKOFF_FIRST_S
    with pytest.raises(CredentialError, match="scheme is unknown"):
        await get(cache)
    assert len(tried) == 2


async def test_names_that_clients_make_up_do_not_fill_the_memory(
    source: Source, clock: Clock
) -> None:
    cache = CredentialCache(clock=clock, open_provider=source.open, max_entries=10)
    regular = await cache.get("test:x", "regular")
    for number in range(100):
        await cache.get("test:x", f"made up {number}")
        assert await cache.get("test:x", "regular") is regular
    assert source.fetches == 101
    await cache.get("test:x", "made up 99")
    assert source.fetches == 101
    await cache.get("test:x", "made up 1")
    assert source.fetches == 102


async def test_the_real_providers_and_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEGATE_TEST_SECRET", "one")
    cache = CredentialCache()
    assert (await cache.get("env:TIDEGATE_TEST_SECRET", "app")).secret == "one"
    with pytest.raises(CredentialError, match="scheme is unknown"):
        await cache.get("nothing:x", "app")
