"""The demonstration from the first process to the last: set up, two bursts, summary, clean up."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from proxy.demo.burst import Burst, BurstPlan
from proxy.demo.engine import MAX_CONNECTIONS
from proxy.demo.measures import BurstResult, RecentRate, percentile
from proxy.demo.processes import DemoError, is_reachable_by_others, unprivileged_account
from proxy.demo.proxy_process import BUDGET, ProxyProcess
from proxy.demo.sampler import Sampler
from proxy.demo.summary import summary
from proxy.demo.view import Snapshot, choose_view

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from proxy.demo.engine import Cluster, Engine, Login

_REFRESH_S = 0.25
_DISBANDING_S = 1.0
_ALONE_TIMEOUT_S = 6.0

Waiting = Callable[[], Awaitable[int | None]]


def say(text: str) -> None:
    """Print a line of the story."""
    print(text, flush=True)


def _make_directory() -> Path:
    """Create the demonstration's directory, where the server's account can enter it.

    Everything secret in it has permissions of its own.
    """
    account = unprivileged_account()
    places: tuple[str | None, ...] = (None, "/tmp", "/var/tmp")  # noqa: S108 - mkdtemp in it
    for place in places:
        with suppress(OSError):
            directory = Path(tempfile.mkdtemp(prefix="tidegate-demo-", dir=place)).resolve()
            directory.chmod(0o711 if account else 0o700)
            if account is None or is_reachable_by_others(directory):
                return directory
            directory.rmdir()
    raise DemoError("found no temporary directory that an unprivileged account can enter")


@asynccontextmanager
async def _directory() -> AsyncIterator[Path]:
    directory = _make_directory()
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@asynccontextmanager
async def _cluster(directory: Path, engine: Engine) -> AsyncIterator[Cluster]:
    cluster = engine.cluster(
        directory, superuser_password=secrets.token_urlsafe(18), password=secrets.token_urlsafe(18)
    )
    say(f"Starting {cluster.title} ({MAX_CONNECTIONS} connections) ...")
    try:
        await cluster.start()
        yield cluster
    finally:
        await cluster.stop()


@asynccontextmanager
async def _proxy(directory: Path, engine: Engine, cluster: Cluster) -> AsyncIterator[ProxyProcess]:
    proxy = ProxyProcess(directory, engine, cluster)
    try:
        await proxy.start()
        yield proxy
    finally:
        await proxy.stop()


@asynccontextmanager
async def _sampler(cluster: Cluster, engine: Engine) -> AsyncIterator[Sampler]:
    sampler = await Sampler.connect(cluster.superuser_login, engine)
    try:
        yield sampler
    finally:
        await sampler.close()


class Stage:
    """Runs bursts in front of an audience."""

    def __init__(self, plan: BurstPlan, engine: Engine, sampler: Sampler, *, plain: bool) -> None:
        self._plan = plan
        self._engine = engine
        self._sampler = sampler
        self._plain = plain

    async def perform(
        self, title: str, login: Login, budget: int, waiting: Waiting | None
    ) -> BurstResult:
        """Run one burst with its live view and collect the result."""
        burst = Burst(self._plan, self._engine, login)
        self._sampler.restart()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._sampler.run())
                narrator = group.create_task(self._narrate(title, burst, budget, waiting))
                duration_s = await burst.run()
                narrator.cancel()
                self._sampler.finish()
        except ExceptionGroup as failures:
            reason = self._engine.describe(failures.exceptions[0])
            raise DemoError(f"broke off: {reason}") from failures
        return BurstResult(
            measures=burst.measures,
            duration_s=duration_s,
            peak_connections=self._sampler.peak,
            budget=budget,
            ledger=await self._sampler.ledger(),
        )

    async def _narrate(
        self, title: str, burst: Burst, budget: int, waiting: Waiting | None
    ) -> None:
        began = asyncio.get_running_loop().time()
        rate = RecentRate(burst.measures)
        with choose_view(plain=self._plain) as view:
            while True:
                queued = None if waiting is None else await waiting()
                elapsed_s = asyncio.get_running_loop().time() - began
                # The last picture is of the burst, not of its last second's disbanding.
                if not 0 <= elapsed_s - self._plan.duration_s < _DISBANDING_S:
                    view.show(self._snapshot(title, burst, budget, queued, elapsed_s, rate))
                await asyncio.sleep(_REFRESH_S)

    def _snapshot(
        self,
        title: str,
        burst: Burst,
        budget: int,
        queued: int | None,
        elapsed_s: float,
        rate: RecentRate,
    ) -> Snapshot:
        measures, sampler = burst.measures, self._sampler
        per_second, latencies_s = rate.update(elapsed_s)
        return Snapshot(
            title=title,
            elapsed_s=elapsed_s,
            duration_s=burst.plan.duration_s,
            environments=burst.plan.environments,
            connected=measures.connected,
            connecting=measures.connecting,
            running=measures.running,
            frozen=measures.frozen,
            open_connections=sampler.open,
            busy_connections=sampler.busy,
            budget=budget,
            waiting=queued or 0,
            transactions=measures.transactions,
            rate=per_second,
            p50_s=percentile(latencies_s, 0.5),
            p99_s=percentile(latencies_s, 0.99),
            errors=measures.error_count,
        )


async def run(engine: Engine, environments: int, duration_s: float, *, plain: bool) -> int:
    """Run the demonstration; return its exit code. Raises ``DemoError`` when it cannot go on."""
    plan = BurstPlan(environments=environments, duration_s=duration_s)
    async with (
        _directory() as directory,
        _cluster(directory, engine) as cluster,
        _sampler(cluster, engine) as sampler,
    ):
        stage = Stage(plan, engine, sampler, plain=plain)
        say(f"Starting Tidegate in front of it, with a budget of {BUDGET} connections ...")
        async with _proxy(directory, engine, cluster) as proxy:
            say(
                f"A burst of {environments} Lambda environments for {duration_s:g} s,"
                " one connection each:"
            )
            title = "Lambda burst through Tidegate"
            proxied = await stage.perform(title, proxy.login, BUDGET, proxy.waiting)
        if not await sampler.wait_until_alone(_ALONE_TIMEOUT_S):
            raise DemoError(f"the proxy left {sampler.open} server connections behind")
        await cluster.reset()
        say("The same burst directly at the database, without Tidegate:")
        title = "The same burst without Tidegate"
        direct = await stage.perform(title, cluster.login, MAX_CONNECTIONS, None)
    say(summary(proxied, direct))
    return 0 if proxied.clean and proxied.peak_connections <= BUDGET else 1
