"""Two workers and one budget: how alike their clients fare, and what one worker alone can have.

Which worker serves a client is read from the kernel's tables: whose socket is at the other end.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop

from benchmarks import database, peers
from benchmarks.accounting import members
from benchmarks.client import Client, connect
from benchmarks.figures import percentile
from benchmarks.peers import POOL_SIZE
from benchmarks.stage import postgresql_stage
from tests.support import messages as wire

if TYPE_CHECKING:
    from collections.abc import Sequence

BUSY = 16
"""Clients at work: more than half of the budget, all of which must come to where they are."""
_CLIENTS = 40
_SETTLE_S, _MEASURE_S = 1.5, 2.0
_SLEEP = wire.query("SELECT pg_sleep(0.005)")
"""Holds a server connection without needing a core: the budget decides, not the machine."""


def inodes(table: str, port: int) -> dict[str, int]:
    """Read ``/proc/net/tcp``: by inode, the clients' ports of connections to a port of ours."""
    found = {}
    for line in table.splitlines()[1:]:
        fields = line.split()
        local, remote = (int(place.rpartition(":")[2], 16) for place in fields[1:3])
        if local == port and remote:
            found[fields[9]] = remote
    return found


def owners(session: int, port: int) -> dict[int, int]:
    """Return, by the client's port, the process that holds the other end of its connection."""
    by_inode = inodes(Path("/proc/net/tcp").read_text(), port)
    found = {}
    for pid in members(session):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                inode = os.readlink(entry).removeprefix("socket:[").removesuffix("]")
                if inode in by_inode:
                    found[by_inode[inode]] = pid
    return found


async def _busy(client: Client, samples: list[tuple[float, float]]) -> None:
    while True:
        began_s = time.monotonic()
        await client.query(_SLEEP)
        ended_s = time.monotonic()
        samples.append((ended_s, ended_s - began_s))


async def _load(title: str, groups: Sequence[Sequence[Client]]) -> list[dict[str, Any]]:
    """Let groups of clients work at the same time; return a row for each group."""
    samples: list[list[tuple[float, float]]] = [[] for _ in groups]
    begin_s = time.monotonic() + _SETTLE_S
    tasks = [
        asyncio.create_task(_busy(client, mine))
        for group, mine in zip(groups, samples, strict=True)
        for client in group
    ]
    await asyncio.sleep(_SETTLE_S + _MEASURE_S)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    rows = []
    for number, (group, mine) in enumerate(zip(groups, samples, strict=True), 1):
        latencies = sorted(taken_s for ended_s, taken_s in mine if ended_s >= begin_s)
        row = {
            "peer": f"{title}, worker {number}",
            "busy_clients": len(group),
            "transactions_per_s": len(latencies) / _MEASURE_S,
            "p50_us": percentile(latencies, 0.5) * 1e6,
            "p99_us": percentile(latencies, 0.99) * 1e6,
        }
        rows.append(row)
        print(f"  {row['peer']}: {row['transactions_per_s']:,.0f}/s, p99 {row['p99_us']:,.0f} us")
    return rows


async def _crowd(peer: peers.Running) -> list[list[Client]]:
    """Log clients in; return them by worker."""
    found: dict[int, Client] = {}
    for _ in range(_CLIENTS):
        client = await connect(peer.port, None)
        await client.login(database.USER, database.PASSWORD, database.DATABASE)
        found[client.port] = client
    held = owners(peer.session, peer.port)
    workers: dict[int, list[Client]] = {}
    for port, client in found.items():
        workers.setdefault(held[port], []).append(client)
    return list(workers.values())


async def _play(peer: peers.Running) -> list[dict[str, Any]]:
    rows = []
    # Clients anew for each load: what was cancelled is in the middle of a reply.
    workers = await _crowd(peer)
    rows += await _load("even", [group[: BUSY // len(workers)] for group in workers])
    workers = await _crowd(peer)
    rows += await _load("all on one", [max(workers, key=len)[:BUSY]])
    return rows


def measure() -> list[dict[str, Any]]:
    """Run both loads against two workers; return one result with a row for each worker."""
    with postgresql_stage(POOL_SIZE) as stage:
        two = next(peer for peer in peers.WORKERS if peer.workers == 2)
        with peers.running(two, stage.setup, stage.folder) as peer:
            rows = uvloop.run(_play(peer))
    title = f"{BUSY} busy clients, queries of 5 ms, a budget of {POOL_SIZE} for two workers"
    return [{"title": title, "peers": rows}]
