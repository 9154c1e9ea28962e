"""Which twin and which event loop run, and what becomes of tasks."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import platform
import weakref
from importlib.metadata import version

import pytest

from proxy.errors import ConfigError
from proxy.net import runtime
from tests.support.compiled import compiled_modules

INTERPRETED = ("proxy.net.runtime",)


def test_the_build_compiles_what_runs_compiled() -> None:
    built = [path.removesuffix(".py").replace("/", ".") for path in compiled_modules()]
    assert list(runtime.COMPILED_MODULES) == built


def test_one_interpreted_module_makes_an_interpreted_twin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "COMPILED_MODULES", ("math",))
    assert runtime.is_compiled()
    assert runtime.build_facts("1")["compiled"] == "yes"
    assert runtime.describe().endswith(" compiled hot path")
    monkeypatch.setattr(runtime, "COMPILED_MODULES", ("math", "proxy.net.runtime"))
    assert not runtime.is_compiled()
    assert runtime.build_facts("1")["compiled"] == "no"
    assert runtime.describe().endswith(" interpreted hot path")


def test_the_compiled_twin_can_be_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEGATE_REQUIRE_COMPILED", "1")
    monkeypatch.setattr(runtime, "COMPILED_MODULES", ("math",))
    runtime.require_compiled()
    monkeypatch.setattr(runtime, "COMPILED_MODULES", INTERPRETED)
    with pytest.raises(ConfigError, match="TIDEGATE_REQUIRE_COMPILED=1"):
        runtime.require_compiled()


@pytest.mark.parametrize("value", [None, "", "0"])
def test_the_interpreted_twin_serves_unless_refused(
    monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.setattr(runtime, "COMPILED_MODULES", INTERPRETED)
    monkeypatch.delenv("TIDEGATE_REQUIRE_COMPILED", raising=False)
    if value is not None:
        monkeypatch.setenv("TIDEGATE_REQUIRE_COMPILED", value)
    runtime.require_compiled()


async def which_loop() -> str:
    return type(asyncio.get_running_loop()).__module__.partition(".")[0]


def test_uvloop_is_used_where_it_is() -> None:
    assert runtime.run(which_loop()) == "uvloop"
    facts = runtime.build_facts("1.2.3")
    assert facts["event_loop"] == "uvloop"
    assert facts["version"] == "1.2.3"
    assert facts["python"] == platform.python_version()
    assert f"uvloop {version('uvloop')}, " in runtime.describe()


def test_asyncio_is_used_where_uvloop_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert runtime.run(which_loop()) == "asyncio"
    assert runtime.build_facts("1")["event_loop"] == "asyncio"
    assert ", asyncio, " in runtime.describe()


async def test_tasks_live_until_they_end() -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()

    async def work() -> None:
        # Nothing but the task refers to this future, as with a transport that is lost.
        future = loop.create_future()
        waited.append(weakref.ref(future))
        await future
        ended.set()

    waited: list[weakref.ref[asyncio.Future[None]]] = []
    name = runtime.spawn(work(), "a name").get_name()
    assert name == "a name"
    await asyncio.sleep(0)
    gc.collect()
    future = waited[0]()
    assert future is not None, "the task was collected while it waited"
    future.set_result(None)
    async with asyncio.timeout(5):
        await ended.wait()


async def test_tasks_that_ended_are_let_go() -> None:
    async def work() -> int:
        return 7

    task = runtime.spawn(work(), "short")
    assert await task == 7
    await asyncio.sleep(0)
    known = weakref.ref(task)
    del task
    gc.collect()
    assert known() is None
