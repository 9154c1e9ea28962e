"""Cancel requests reach the right query, and only that one."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from tests.support import messages as wire
from tests.support.wire import WireClient, cancel, connect, eventually

if TYPE_CHECKING:
    from tests.conftest import Place
    from tests.support.proxy import ProxyProcess
    from tests.support.servers import PostgresServer

LONG = wire.query("SELECT pg_sleep(30)")


def sleeping(server: PostgresServer) -> int:
    """Count the backends asleep in a query."""
    return len(server.backends(wait_event="PgSleep"))


def test_running_query(server: PostgresServer, place: Place) -> None:
    with connect(place.host, place.port) as client:
        client.send(LONG)
        eventually(lambda: sleeping(server) == 1, "running")
        cancel(place.host, place.port, client.pid, client.key)
        assert wire.states(client.read_until()) == ["57014"]
        assert client.value("SELECT 1") == "1"


def test_running_query_in_a_transaction(server: PostgresServer, place: Place) -> None:
    with connect(place.host, place.port) as client:
        client.query("BEGIN")
        client.send(LONG)
        eventually(lambda: sleeping(server) == 1, "running")
        cancel(place.host, place.port, client.pid, client.key)
        reply = client.read_until()
        assert wire.states(reply) == ["57014"]
        assert reply[-1].payload == b"E"
        assert wire.codes(client.query("ROLLBACK")) == "CZ"


def test_extended_query(server: PostgresServer, place: Place) -> None:
    with connect(place.host, place.port) as client:
        client.send(wire.run("SELECT pg_sleep(30)"), wire.SYNC)
        eventually(lambda: sleeping(server) == 1, "running")
        cancel(place.host, place.port, client.pid, client.key)
        assert wire.states(client.read_until()) == ["57014"]


def test_wrong_key(server: PostgresServer, place: Place) -> None:
    with connect(place.host, place.port) as client:
        client.send(wire.query("SELECT pg_sleep(1), 'done'"))
        eventually(lambda: sleeping(server) == 1, "running")
        cancel(place.host, place.port, client.pid, bytes(len(client.key)))
        cancel(place.host, place.port, client.pid + 1, client.key)
        cancel(place.host, place.port, client.pid, client.key[:2])
        cancel(place.host, place.port, client.pid, client.key + b"\0" * 300)
        assert wire.rows(client.read_until())[0][1] == b"done"


def test_nothing_running(place: Place) -> None:
    with connect(place.host, place.port) as client:
        for _ in range(5):
            cancel(place.host, place.port, client.pid, client.key)
        time.sleep(0.2)
        assert client.value("SELECT 1") == "1"


def test_keys_differ(pooled: ProxyProcess) -> None:
    keys = set()
    for _ in range(50):
        with connect(pooled.host, pooled.port) as client:
            keys.add((client.pid, client.key))
    assert len(keys) == 50
    assert len({key for _, key in keys}) == 50


def test_queued_client(single: ProxyProcess, server: PostgresServer) -> None:
    """A client that waits for a server connection can be cancelled without one."""
    with connect(single.host, single.port) as holder, connect(single.host, single.port) as queued:
        holder.query("BEGIN")
        queued.send(wire.query("SELECT 'too late'"))
        assert queued.silent()
        cancel(single.host, single.port, queued.pid, queued.key)
        reply = queued.read_until()
        assert wire.states(reply) == ["57014"]
        assert reply[-1].payload == b"I"
        assert holder.value("SELECT 'unharmed'") == "unharmed"
        holder.query("COMMIT")
        assert queued.value("SELECT 'again'") == "again"


def test_queued_extended_client(single: ProxyProcess) -> None:
    with connect(single.host, single.port) as holder, connect(single.host, single.port) as queued:
        holder.query("BEGIN")
        queued.send(wire.parse("SELECT 'late'", "s1"), wire.bind(name="s1"), wire.execute())
        queued.send(wire.SYNC)
        assert queued.silent()
        cancel(single.host, single.port, queued.pid, queued.key)
        assert wire.states(queued.read_until()) == ["57014"]
        holder.query("COMMIT")
        assert queued.value("SELECT 'again'") == "again"


def test_later_tenant_is_never_hit(single: ProxyProcess) -> None:
    """The first client's key must not touch the next client's query on the same connection."""
    with connect(single.host, single.port) as first, connect(single.host, single.port) as second:
        for _ in range(20):
            assert first.value("SELECT 1") == "1"
            second.send(wire.query("SELECT pg_sleep(0.05), 'finished'"))
            cancel(single.host, single.port, first.pid, first.key)
            assert wire.rows(second.read_until())[0][1] == b"finished"


def test_racing_cancels_hit_nobody_else(single: ProxyProcess) -> None:
    """Cancels fired just as the query ends, when the connection passes to the next client."""
    with connect(single.host, single.port) as first, connect(single.host, single.port) as second:
        for turn in range(60):
            first.send(wire.query(f"SELECT pg_sleep({turn % 6 / 1000})"))
            second.send(wire.query("SELECT pg_sleep(0.02), 'mine'"))
            messengers = []
            for _ in range(3):
                messenger = WireClient(single.host, single.port)
                messenger.send(wire.cancel(first.pid, first.key))
                messengers.append(messenger)
            assert wire.states(first.read_until()) in ([], ["57014"])
            assert wire.rows(second.read_until())[0][1] == b"mine"
            for messenger in messengers:
                assert messenger.drain() == []
                messenger.close()


def test_flood_of_cancels(pooled: ProxyProcess) -> None:
    """Guessed keys are cheap to refuse and open no server connections."""
    before = pooled.server.backends()
    for _ in range(200):
        with WireClient(pooled.host, pooled.port) as messenger:
            messenger.send(wire.cancel(int.from_bytes(os.urandom(3)), os.urandom(4)))
    with connect(pooled.host, pooled.port) as client:
        assert client.value("SELECT 1") == "1"
    assert len(pooled.server.backends()) <= len(before) + 1
