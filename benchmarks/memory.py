"""Memory: what an idle client costs, from the growth of the whole proxy's resident set."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import database, fleet, peers
from benchmarks.accounting import resident_bytes
from benchmarks.relay import POOL_SIZE, lineup
from tests.support.certificates import make_certificates

if TYPE_CHECKING:
    from collections.abc import Sequence

_QUIET = fleet.Profile("idle", 1, 1, 0.0, 500.0)
_WARM_CLIENTS = 100
"""Connect and leave before the first reading, so that what is loaded once is not counted."""
HELD_LIMIT = 700
"""HAProxy and direct connections hold a server connection each: no more than the server has."""


def _hold(peer: peers.Running, clients: int, *, tls: bool) -> tuple[int, fleet.Tally]:
    held = 0

    def read() -> None:
        nonlocal held
        held = resident_bytes(peer.session)

    def plan(number: int, begin_s: float) -> fleet.Plan:
        return fleet.Plan(
            port=peer.port,
            user=database.USER,
            password=database.PASSWORD,
            database=database.DATABASE,
            profile=_QUIET,
            environments=clients // fleet.PROCESSES,
            tls=tls,
            begin_s=begin_s,
            step=fleet.PROCESSES,
            offset=number,
            hold=True,
        )

    tally = fleet.unleash(plan, read)
    return held, tally


def measure(
    counts: Sequence[int], rivals: Sequence[peers.Peer], *, tls: bool
) -> list[dict[str, Any]]:
    """Hold ever more idle clients against freshly started peers; return results like bursts'."""
    with (
        database.database() as (server, _),
        tempfile.TemporaryDirectory(prefix="tgbench", dir="/tmp") as folder,
    ):
        Path(folder).chmod(0o755)
        setup = peers.Setup(
            server_port=server.port,
            user=database.USER,
            password=database.PASSWORD,
            pool_size=POOL_SIZE,
            certificates=make_certificates(Path(folder) / "tls"),
            client_tls=True,
        )
        results = []
        for count in counts:
            able = [peer for peer in rivals if peer.transactions or count <= HELD_LIMIT]
            # Freshly started: what an earlier crowd has left free would hide the growth.
            with lineup(able, setup, Path(folder), direct=False) as started:
                rows = [_row(peer, count, tls=tls) for peer in started]
            link = "TLS" if tls else "plain"
            results.append({"title": f"{count:,} idle clients, {link}", "peers": rows})
        return results


def _row(peer: peers.Running, count: int, *, tls: bool) -> dict[str, Any]:
    _hold(peer, _WARM_CLIENTS, tls=tls)
    before = resident_bytes(peer.session)
    held, tally = _hold(peer, count, tls=tls)
    served = len(tally.first_query_s)
    row = {
        "peer": peer.name,
        "served": served,
        "failures": tally.errors.total(),
        "resident_mib_before": before / 2**20,
        "resident_mib_held": held / 2**20,
        "bytes_per_client": (held - before) / served if served else 0.0,
    }
    print(f"  {count} idle: {peer.name} {row['bytes_per_client']:,.0f} bytes a client", flush=True)
    return row
