"""Memory: what an idle client costs, from the growth of the whole proxy's resident set."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from benchmarks import fleet, peers
from benchmarks.accounting import resident_bytes
from benchmarks.peers import POOL_SIZE
from benchmarks.relay import lineup
from benchmarks.stage import STAGES

if TYPE_CHECKING:
    from collections.abc import Sequence

LOGINS_PER_S = {"postgresql": 700.0, "mysql": 200.0}
"""Less than any peer of an engine can do: MySQL Router has the server check every login."""
_BUSY_S = 1.5
"""Seconds that busy clients have been at it when memory is read."""
_WARM_CLIENTS = 100
"""Connect and leave before the first reading, so that what is loaded once is not counted."""


def _hold(
    peer: peers.Running, login: fleet.Login, clients: int, *, tls: bool, busy: bool = False
) -> tuple[int, fleet.Tally]:
    held = 0
    profile = fleet.Profile("idle", 1, 1, 0.0, LOGINS_PER_S[login.engine])

    def read() -> None:
        nonlocal held
        if busy:
            time.sleep(_BUSY_S)
        held = resident_bytes(peer.session)

    def plan(number: int, begin_s: float) -> fleet.Plan:
        return fleet.Plan(
            port=peer.port,
            login=login,
            profile=profile,
            environments=clients // fleet.PROCESSES,
            tls=tls,
            begin_s=begin_s,
            step=fleet.PROCESSES,
            offset=number,
            hold=True,
            busy=busy,
        )

    tally = fleet.unleash(plan, read)
    return held, tally


def measure(
    engine: str,
    counts: Sequence[int],
    rivals: Sequence[peers.Peer],
    *,
    tls: bool,
    busy: bool = False,
) -> list[dict[str, Any]]:
    """Hold ever more idle clients against freshly started peers; return results like bursts'."""
    with STAGES[engine](POOL_SIZE, client_tls=True) as stage:
        results = []
        for count in counts:
            able = [peer for peer in rivals if count <= peer.most_clients]
            # Freshly started: what an earlier crowd has left free would hide the growth.
            with lineup(able, stage.setup, stage.folder, direct=False) as started:
                rows = [_row(peer, stage.login, count, tls=tls, busy=busy) for peer in started]
            kind = f"{'busy' if busy else 'idle'} clients, {'TLS' if tls else 'plain'}"
            results.append({"title": f"{count:,} {kind}", "peers": rows})
        return results


def _row(
    peer: peers.Running, login: fleet.Login, count: int, *, tls: bool, busy: bool
) -> dict[str, Any]:
    _hold(peer, login, _WARM_CLIENTS, tls=tls)
    before = resident_bytes(peer.session)
    held, tally = _hold(peer, login, count, tls=tls, busy=busy)
    served = len(tally.first_query_s)
    row = {
        "peer": peer.name,
        "served": served,
        "failures": tally.errors.total(),
        "resident_mib_before": before / 2**20,
        "resident_mib_held": held / 2**20,
        "bytes_per_client": (held - before) / served if served else 0.0,
    }
    kind = "busy" if busy else "idle"
    print(
        f"  {count} {kind}: {peer.name} {row['bytes_per_client']:,.0f} bytes a client", flush=True
    )
    return row
