"""What a target says of itself: asked for once, by whoever needs it first."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from proxy.errors import ConnectFailed, CredentialError, ProxyError
from proxy.net.profile import Profile

if TYPE_CHECKING:
    from proxy.net.gateway import Gateway


class Target:
    """Stands for a gateway's opener and dialer."""

    def __init__(self) -> None:
        self.visits: list[Any] = []
        self.answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.secret_error: ProxyError | None = None
        self.profile = Profile(cast("Gateway", SimpleNamespace(opener=self, dialer=self)))

    async def visiting_plan(self) -> str:
        """How to log in."""
        if self.secret_error is not None:
            raise self.secret_error
        return "plan"

    async def learn_target(self, plan: str | None) -> str:
        """Visit."""
        self.visits.append(plan)
        return await self.answer


async def test_all_who_wait_share_one_visit() -> None:
    target = Target()
    waiting = [asyncio.ensure_future(target.profile.get()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    target.answer.set_result("9.7")
    assert await asyncio.gather(*waiting[1:]) == ["9.7", "9.7"]
    assert await target.profile.get() == "9.7"
    assert target.visits == ["plan"]


async def test_what_a_server_connection_has_learned_saves_the_visit() -> None:
    target = Target()
    target.profile.learn(None)
    target.profile.learn("9.7")
    assert await target.profile.get() == "9.7"
    target.profile.learn("9.8")
    assert await target.profile.get() == "9.8"
    assert target.visits == []


async def test_a_failure_is_everyones_and_not_remembered() -> None:
    target = Target()
    waiting = [asyncio.ensure_future(target.profile.get()) for _ in range(2)]
    await asyncio.sleep(0)
    target.answer.set_exception(ConnectFailed("refused"))
    for one in waiting:
        with pytest.raises(ConnectFailed):
            await one
    target.answer = asyncio.get_running_loop().create_future()
    target.answer.set_result("9.7")
    assert await target.profile.get() == "9.7"


async def test_a_server_is_asked_without_a_login_if_the_secret_cannot_be_had() -> None:
    target = Target()
    target.secret_error = CredentialError("no such file")
    target.answer.set_result("9.7")
    assert await target.profile.get() == "9.7"
    assert target.visits == [None]
