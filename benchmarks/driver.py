"""What pgbench cannot do, done by psycopg: COPY in and out, and pipelines.

``python -m benchmarks.driver KIND CLIENTS SECONDS LOG`` with libpq's environment variables writes
a log in pgbench's format: client, transaction, latency (us), script, second and microsecond.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import psycopg

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

UNITS = {"copy-out": 8, "copy-in": 8, "pipeline": 20}
"""Megabytes of a COPY, queries of a pipeline: what one transaction of each kind is worth."""
_ROW = b"x" * 1023 + b"\n"
_CHUNK = _ROW * 64
_OUT = b"COPY (SELECT repeat('x', 1023) FROM generate_series(1, 8192)) TO STDOUT"
# Nothing is stored: the trigger drops each row, so that the database does not wait for its disk.
PREPARE = (
    "CREATE UNLOGGED TABLE IF NOT EXISTS bench_in (line text)",
    "CREATE OR REPLACE FUNCTION bench_drop() RETURNS trigger LANGUAGE plpgsql"
    " AS 'BEGIN RETURN NULL; END'",
    "CREATE OR REPLACE TRIGGER bench_drop BEFORE INSERT ON bench_in"
    " FOR EACH ROW EXECUTE FUNCTION bench_drop()",
)


def copy_out(connection: psycopg.Connection[Any]) -> None:
    """Receive 8 MB."""
    with connection.cursor().copy(_OUT) as copy:
        while copy.read():
            pass


def copy_in(connection: psycopg.Connection[Any]) -> None:
    """Send 8 MB."""
    with connection.cursor().copy(b"COPY bench_in FROM STDIN") as copy:
        for _ in range(8192 // 64):
            copy.write(_CHUNK)


def pipeline(connection: psycopg.Connection[Any]) -> None:
    """Send 20 queries and one Sync, then read all answers."""
    with connection.pipeline():
        for number in range(20):
            connection.execute(
                "SELECT abalance FROM pgbench_accounts WHERE aid = %s", (4711 + number,)
            )


KINDS: dict[str, Callable[[psycopg.Connection[Any]], None]] = {
    "copy-out": copy_out,
    "copy-in": copy_in,
    "pipeline": pipeline,
}


def work(number: int, kind: str, until_s: float, log: TextIO) -> None:
    """Do one kind of transaction on a connection until a time, and log each."""
    act = KINDS[kind]
    with psycopg.connect(autocommit=True) as connection:
        count = 0
        while time.monotonic() < until_s:
            began_s = time.perf_counter()
            act(connection)
            latency_us = (time.perf_counter() - began_s) * 1e6
            count += 1
            second, fraction = divmod(time.time_ns() // 1000, 1_000_000)
            log.write(f"{number} {count} {latency_us:.0f} 0 {second} {fraction}\n")
            log.flush()


def main(kind: str, clients: int, seconds: float, path: str) -> int:
    """Run the clients, each in a thread; return the exit code."""
    until_s = time.monotonic() + seconds
    failures: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            with open(f"{path}.{number}", "w") as log:
                work(number, kind, until_s, log)
        except psycopg.Error as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for failure in failures[:1]:
        print(failure, file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]))
