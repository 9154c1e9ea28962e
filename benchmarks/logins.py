"""Scale where the proxy is the bottleneck: logins through TLS, counted per second.

A login costs the proxy a signature with its RSA key; the client verifies it, which is some hundred
times cheaper, and the database has no part in it. Nobody resumes a TLS session, and the client's
part of SCRAM is computed once. The CPU of both sides is shown, so that a reader sees which of them
had none left.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import statistics
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import uvloop

from benchmarks import peers
from benchmarks.accounting import usage
from benchmarks.certificates import make_rsa_certificate
from benchmarks.client import connect
from benchmarks.figures import ratio
from benchmarks.fleet import FAILURES, Login
from benchmarks.peers import POOL_SIZE
from benchmarks.relay import lineup
from benchmarks.stage import postgresql_stage
from tests.support.wire import tls_context

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.connection import Connection

KEY_BITS = 8192
"""More than anybody uses. With 4,096 bits the rest of a login costs a client a fifth of what it
costs the proxy, and that is what a second worker lacks on a machine of two cores."""
AT_ONCE = 32
"""Clients that log in, leave and log in again."""
TITLE = f"TLS logins, RSA key of {KEY_BITS:,} bits, {AT_ONCE} at a time"
_STRETCH = 3
"""Logins are few, so they are counted for this many times the seconds that a load has."""
_SETTLE_S = 2.5
"""For the process to start, and everybody to wait in line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Where and when logins are counted; times are on the monotonic clock."""

    port: int
    login: Login
    begin_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Count:
    """What the clients saw in a window."""

    logins: int
    failures: int
    cpu_s: float
    """Their own."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One round of one peer."""

    logins_per_s: float
    failures: int
    proxy_cores: float
    """Cores kept busy."""
    client_cores: float


async def _log_in_and_out(window: Window, ended_s: list[float], failed: list[str]) -> None:
    context = tls_context()
    while time.monotonic() < window.end_s:
        client = None
        try:
            client = await connect(window.port, context)
            await client.login(window.login.user, window.login.password, window.login.database)
            ended_s.append(time.monotonic())
        except FAILURES as error:
            failed.append(str(error))
        if client is not None:
            client.vanish()


async def _clients(window: Window) -> Count:
    ended_s: list[float] = []
    failed: list[str] = []
    tasks = [asyncio.create_task(_log_in_and_out(window, ended_s, failed)) for _ in range(AT_ONCE)]
    await asyncio.sleep(window.begin_s - time.monotonic())
    before_s = time.process_time()
    await asyncio.sleep(window.end_s - time.monotonic())
    used_s = time.process_time() - before_s
    await asyncio.wait(tasks)
    inside = sum(window.begin_s <= moment < window.end_s for moment in ended_s)
    return Count(inside, len(failed), used_s)


def _process(window: Window, parent: Connection) -> None:
    parent.send(uvloop.run(_clients(window)))


def take(peer: peers.Running, login: Login, duration_s: float) -> Sample:
    """Count logins and the CPU they took, after all has settled."""
    context = multiprocessing.get_context("spawn")
    begin_s = time.monotonic() + _SETTLE_S
    window = Window(port=peer.port, login=login, begin_s=begin_s, end_s=begin_s + duration_s)
    ours, theirs = context.Pipe()
    process = context.Process(target=_process, args=(window, theirs))
    process.start()
    theirs.close()
    try:
        time.sleep(max(0.0, window.begin_s - time.monotonic()))
        before = usage(peer.session)
        time.sleep(max(0.0, window.end_s - time.monotonic()))
        used = usage(peer.session).since(before)
        count: Count = ours.recv()
    finally:
        process.join(20)
        process.kill()
        process.join()
    return Sample(
        count.logins / duration_s, count.failures, used.cpu_s / duration_s, count.cpu_s / duration_s
    )


def row(name: str, samples: Sequence[Sample], one_worker: Sequence[Sample]) -> dict[str, Any]:
    """Sum a peer up; beside it, its rounds against those of one worker."""
    rates = [sample.logins_per_s for sample in samples]
    found: dict[str, Any] = {
        "peer": name,
        "failures": sum(sample.failures for sample in samples),
        "logins_per_s": statistics.median(rates),
        "proxy_cpu_percent": statistics.median(100 * sample.proxy_cores for sample in samples),
        "clients_cpu_percent": statistics.median(100 * sample.client_cores for sample in samples),
        "cpu_us_per_login": statistics.median(
            sample.proxy_cores / sample.logins_per_s * 1e6 if sample.logins_per_s else 0.0
            for sample in samples
        ),
        "against_one_worker": "-",
    }
    theirs = [sample.logins_per_s for sample in one_worker]
    if any(theirs):
        times = ratio(rates, theirs)
        found["against_one_worker"] = f"{times.median:.2f} ({times.low:.2f} to {times.high:.2f})"
    return found


def teams(rivals: Sequence[peers.Peer]) -> list[peers.Peer]:
    """Return who is compared: one and two workers, and PgBouncer, which is one process."""
    workers = [peer for peer in peers.WORKERS if peer.workers <= 2]
    return [*workers, *(peer for peer in rivals if peer.name == "pgbouncer")]


def length_s(rounds: int, duration_s: int) -> float:
    """Estimate the seconds that a run takes."""
    return len(teams(peers.POSTGRESQL_PEERS)) * rounds * (_SETTLE_S + duration_s * _STRETCH + 1.5)


def measure(rivals: Sequence[peers.Peer], rounds: int, duration_s: int) -> list[dict[str, Any]]:
    """Log in to every peer in turns; return one result."""
    samples: dict[str, list[Sample]] = {}
    with postgresql_stage(POOL_SIZE, client_tls=True) as stage:
        certificates = make_rsa_certificate(stage.folder / "rsa", KEY_BITS)
        setup = replace(stage.setup, certificates=certificates)
        with lineup(teams(rivals), setup, stage.folder, direct=False) as started:
            for number in range(rounds):
                turn = number % len(started)
                for peer in [*started[turn:], *started[:turn]]:
                    sample = take(peer, stage.login, duration_s * _STRETCH)
                    samples.setdefault(peer.name, []).append(sample)
                    print(
                        f"  TLS logins: {peer.name} {sample.logins_per_s:,.0f}/s, proxy on"
                        f" {sample.proxy_cores:.2f} cores, clients on {sample.client_cores:.2f}",
                        flush=True,
                    )
    one = samples.get(peers.WORKERS[0].name, [])
    return [{"title": TITLE, "peers": [row(name, mine, one) for name, mine in samples.items()]}]
