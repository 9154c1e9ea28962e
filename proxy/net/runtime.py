"""The event loop, named tasks, and which twin of the hot path runs."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import os
import platform
from typing import TYPE_CHECKING, Any, Final, TypeVar

from proxy.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")

COMPILED_MODULES: Final = (
    "proxy.metrics.counters",
    "proxy.mysql.binary_protocol",
    "proxy.mysql.client_statements",
    "proxy.mysql.client_stream",
    "proxy.mysql.dropping_stream",
    "proxy.mysql.effects",
    "proxy.mysql.inspection",
    "proxy.mysql.lenenc",
    "proxy.mysql.messages",
    "proxy.mysql.packet_stream",
    "proxy.mysql.pipeline",
    "proxy.mysql.plain_stream",
    "proxy.mysql.query_attributes",
    "proxy.mysql.reply_stream",
    "proxy.mysql.resting_stream",
    "proxy.mysql.server_statements",
    "proxy.mysql.server_stream",
    "proxy.mysql.session",
    "proxy.mysql.session_state",
    "proxy.mysql.statement_stream",
    "proxy.mysql.suspicion",
    "proxy.pool.limits",
    "proxy.pool.pool",
    "proxy.postgres.client_statements",
    "proxy.postgres.client_stream",
    "proxy.postgres.effects",
    "proxy.postgres.inspection",
    "proxy.postgres.pipeline",
    "proxy.postgres.resting_stream",
    "proxy.postgres.server_statements",
    "proxy.postgres.server_stream",
    "proxy.postgres.session",
    "proxy.postgres.suspicion",
    "proxy.postgres.translating_stream",
    "proxy.session.client_link",
    "proxy.session.server_link",
    "proxy.wire.stream",
    "proxy.wire.words",
)
"""Modules of the hot path, compiled by mypyc at build time; the same list is in pyproject.toml."""

REQUIRE_COMPILED: Final = "TIDEGATE_REQUIRE_COMPILED"
"""Environment variable: ``1`` refuses to start on the interpreted twin."""

_tasks: set[asyncio.Task[Any]] = set()


def spawn(work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
    """Start a named task and keep a reference to it until it ends."""
    task = asyncio.get_running_loop().create_task(work, name=name)
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)
    return task


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def is_compiled() -> bool:
    """Whether the whole hot path is compiled."""
    for name in COMPILED_MODULES:
        origin = importlib.import_module(name).__file__ or ""
        if origin.endswith(".py"):
            return False
    return True


def require_compiled() -> None:
    """Raise ``ConfigError`` if the environment asks for the compiled twin and it is not there."""
    if os.environ.get(REQUIRE_COMPILED) == "1" and not is_compiled():
        raise ConfigError(
            f"{REQUIRE_COMPILED}=1, but the hot path is not compiled: install again where there is "
            "a C compiler"
        )


def loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    """The event loop to use: uvloop's if it is installed, asyncio's otherwise (``None``)."""
    if importlib.util.find_spec("uvloop") is None:
        return None
    factory: type[asyncio.AbstractEventLoop] = importlib.import_module("uvloop").Loop
    return factory


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on the best event loop there is."""
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(work)


def build_facts(version: str) -> dict[str, str]:
    """Facts of this build for metrics and the status page."""
    return {
        "version": version,
        "python": platform.python_version(),
        "event_loop": "asyncio" if loop_factory() is None else "uvloop",
        "compiled": "yes" if is_compiled() else "no",
    }


def describe() -> str:
    """One line: Python, event loop, twin."""
    twin = "compiled" if is_compiled() else "interpreted"
    loop = "asyncio"
    if loop_factory() is not None:
        loop = f"uvloop {importlib.import_module('uvloop').__version__}"
    return f"Python {platform.python_version()}, {loop}, {twin} hot path"
