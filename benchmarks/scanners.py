"""Nanoseconds per message of each scanner, and per transaction, in the twin that imports it.

``python scanners.py FOLDER...`` prints JSON; ``measure`` runs it in both twins' environments. The
streams are those that the tests drive: bytes in, bytes out, no event loop and no kernel. Whole
transactions are in ``benchmarks.transactions``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.wire.stream import ClientStream, ServerStream

ROOT = Path(__file__).resolve().parents[1]
TWINS = ("compiled", "interpreted")
_REPEATS = 3000
_BATCHES = 5
_ROWS = 100


def _timed(turn: Callable[[], tuple[int, int]]) -> tuple[float, float]:
    """Return the best batch's nanoseconds a turn, of a conversation's client and server side."""
    best = (float("inf"), float("inf"))
    for _ in range(_BATCHES):
        client_ns = server_ns = 0
        for _ in range(_REPEATS // _BATCHES):
            one, other = turn()
            client_ns, server_ns = client_ns + one, server_ns + other
        each = _REPEATS // _BATCHES
        best = (min(best[0], client_ns / each), min(best[1], server_ns / each))
    return best


def _talk(
    client: ClientStream, server: ServerStream, question: bytes, answer: bytes
) -> Callable[[], tuple[int, int]]:
    """Make a turn: the client's message, then the server's reply, each timed."""
    clock = time.perf_counter_ns

    def turn() -> tuple[int, int]:
        begin = clock()
        client.receive(question)
        middle = clock()
        server.receive(answer)
        end = clock()
        assert client.error is None
        assert server.is_idle()
        return middle - begin, end - middle

    return turn


def _postgres(question: bytes, answer: bytes) -> tuple[float, float]:
    from proxy.postgres.pool_state import PoolState
    from tests.postgres.streams import make_client, make_server

    shared = PoolState(max_prepared_statements=10)
    client, server = make_client(shared), make_server(shared)
    client.attach(server)
    return _timed(_talk(client, server, question, answer))


def _mysql(question: bytes, answer: bytes) -> tuple[float, float]:
    from tests.mysql.streams import BOTH, client_stream, pool_state, server_stream
    from tests.support import mysql_messages as wire

    shared = pool_state()
    client, server = client_stream(shared, wire.BASE | BOTH), server_stream(shared)
    client.attach(server)
    return _timed(_talk(client, server, question, answer))


def run() -> dict[str, float]:
    """Measure every scanner in this process's twin; nanoseconds a message."""
    from tests.mysql import streams as mysql
    from tests.postgres.streams import BOUND, IDLE, answered, completed, row
    from tests.support import messages as wire

    sql = "SELECT abalance FROM pgbench_accounts WHERE aid = 4711"
    short = _postgres(wire.query(sql), answered(row("0")))
    bound = wire.bind("4711") + wire.execute() + wire.SYNC
    many = _postgres(wire.query(sql), answered(*([row("x" * 40)] * _ROWS)))
    extended = _postgres(
        wire.parse(sql) + bound, wire.message("1") + BOUND + row("0") + completed("SELECT 1") + IDLE
    )
    tiny = _mysql(mysql.query(sql), mysql.result([b"0"]))
    large = _mysql(mysql.query(sql), mysql.result([b"x" * 40] * _ROWS))
    return {
        "PostgreSQL client stream, Query": short[0],
        "PostgreSQL client stream, Parse to Sync": extended[0] / 4,
        "PostgreSQL server stream, one row": short[1] / 4,
        "PostgreSQL server stream, extended": extended[1] / 5,
        "PostgreSQL server stream, 100 rows": many[1] / (_ROWS + 3),
        "MySQL client stream, COM_QUERY": tiny[0],
        "MySQL reply stream, one row": tiny[1] / 4,
        "MySQL reply stream, 100 rows": large[1] / (_ROWS + 3),
    }


def measure(programs: dict[str, Path]) -> list[dict[str, Any]]:
    """Run everything in the environments of these ``tidegate`` programs; return two results."""
    units: dict[str, dict[str, dict[str, Any]]] = {}
    for twin, program in programs.items():
        command = [str(program.with_name("python")), "-I", __file__, sysconfig.get_path("platlib")]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
        for unit, numbers in json.loads(done.stdout).items():
            rows = units.setdefault(unit, {})
            for name, nanoseconds in numbers.items():
                rows.setdefault(name, {"peer": name})[f"{twin}_ns_per_{unit}"] = nanoseconds
                print(f"  {name}: {twin} {nanoseconds:,.0f} ns a {unit}", flush=True)
    return [
        {"title": f"nanoseconds per {unit}", "peers": list(rows.values())}
        for unit, rows in units.items()
    ]


def main(folders: list[str]) -> int:
    """Print what this process's twin needs, as JSON; return the exit code."""
    # The twin that is installed comes first; the checkout has the tests' streams, and the caller's
    # environment what they need.
    sys.path += [str(ROOT), *folders]
    from benchmarks import transactions

    print(json.dumps({"message": run(), "transaction": transactions.run()}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
