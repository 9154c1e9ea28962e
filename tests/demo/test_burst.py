"""The simulated environments, over connections that answer at once."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, cast

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from proxy.demo.engine import Login
    from proxy.demo.measures import BurstMeasures


class FakeConnection:
    """Answers queries at once; ``environment`` replaces the right answer."""

    def __init__(self, environment: int | None = None, error: Exception | None = None) -> None:
        self._environment = environment
        self._error = error
        self.statements: list[str] = []
        self.terminated = False

    async def fetch(self, query: str, *arguments: object) -> list[Mapping[str, int]]:
        raise AssertionError("an environment reads single rows")

    async def fetchrow(self, query: str, *arguments: object) -> Mapping[str, int] | None:
        self.statements.append(query)
        if self._error is not None:
            self.terminated = True
            raise self._error
        # An order names its product first, all others the environment.
        own = cast("int", arguments[1 if "INSERT" in query else 0])
        return {"environment": own if self._environment is None else self._environment}

    async def execute(self, query: str, *arguments: object) -> str:
        self.statements.append(query)
        return ""

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        yield

    def is_closed(self) -> bool:
        return self.terminated

    def terminate(self) -> None:
        self.terminated = True

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109
        raise AssertionError("an environment never says goodbye")


class FakeLogin:
    """Hands out connections made by a function, and keeps them."""

    def __init__(self, environment: int | None = None, error: Exception | None = None) -> None:
        self.connections: list[FakeConnection] = []
        self.refusal: Exception | None = None
        self._environment = environment
        self._error = error

    async def connect(self, *, timeout_s: float = 30.0) -> FakeConnection:
        if self.refusal is not None:
            raise self.refusal
        self.connections.append(FakeConnection(self._environment, self._error))
        return self.connections[-1]


@pytest.mark.usefixtures("demo_packages")
class TestBurst:
    async def run(self, login: FakeLogin, environments: int = 40) -> BurstMeasures:
        from proxy.demo.burst import Burst, BurstPlan
        from proxy.demo.engine import choose

        plan = BurstPlan(environments=environments, duration_s=0.5)
        burst = Burst(plan, choose("postgresql"), cast("Login", login))
        await burst.run()
        return burst.measures

    def test_ramp_is_the_documented_pace_or_half_the_burst(self) -> None:
        from proxy.demo.burst import BurstPlan

        assert BurstPlan(environments=100, duration_s=8).ramp_s == 1.0
        assert BurstPlan(environments=1000, duration_s=8).ramp_s == 4.0

    async def test_every_environment_is_served_over_one_connection(self) -> None:
        login = FakeLogin()
        measures = await self.run(login)
        assert measures.served == measures.started == len(login.connections) >= 40
        assert measures.error_count == measures.refused == measures.failed == 0
        assert measures.connected == measures.connecting == measures.in_transaction == 0
        assert all(connection.terminated for connection in login.connections)

    async def test_the_dead_are_replaced(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("proxy.demo.burst.DEATH_SHARE", 0.5)
        measures = await self.run(FakeLogin())
        assert measures.killed > 0
        assert measures.started == measures.served > 40

    async def test_another_environments_answer_is_an_error(self) -> None:
        measures = await self.run(FakeLogin(environment=-1))
        assert measures.served == 0
        assert measures.failed == measures.error_count > 0
        assert set(measures.errors) == {"the answer belongs to another environment"}

    async def test_refused_environments_try_again_until_the_end(self) -> None:
        login = FakeLogin()
        login.refusal = ConnectionRefusedError("no room")
        measures = await self.run(login)
        assert (measures.started, measures.served) == (40, 0)
        assert measures.refused == measures.error_count >= 40
        assert set(measures.errors) == {"no room"}

    async def test_a_lost_connection_is_an_error_and_opened_again(self) -> None:
        login = FakeLogin(error=ConnectionResetError("gone"))
        measures = await self.run(login)
        assert measures.failed == measures.error_count == len(login.connections) >= 40
        assert measures.started == 40

    async def test_those_that_hang_are_counted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("proxy.demo.burst.DRAIN_S", 0.1)

        class Hanging(FakeLogin):
            async def connect(self, *, timeout_s: float = 30.0) -> FakeConnection:
                await asyncio.Event().wait()
                raise AssertionError

        measures = await self.run(Hanging(), environments=3)
        assert measures.unfinished == measures.error_count == 3
