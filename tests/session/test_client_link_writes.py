"""How often a transaction writes: every write is a system call, so there is one to each side."""

from __future__ import annotations

import pytest

from tests.support import messages as wire
from tests.support.stand import Client, Stand

TEXT = "SELECT 1"
SIMPLE = wire.query(TEXT)
UNNAMED = wire.parse(TEXT) + wire.bind() + wire.describe("P") + wire.execute() + wire.SYNC
NAMED = wire.bind(name="s1") + wire.describe("P") + wire.execute() + wire.SYNC


def place(clients: int) -> tuple[Stand, list[Client]]:
    """Clients that have all prepared ``s1``, and one server connection that knows it."""
    stand = Stand(maximum=1)
    found = [stand.client() for _ in range(clients)]
    for client in found:
        client.send(wire.parse(TEXT, "s1") + wire.SYNC)
        stand.run()
        client.send(NAMED)
        stand.run()
    return stand, found


@pytest.mark.parametrize("request_", [SIMPLE, UNNAMED, NAMED], ids=["simple", "unnamed", "named"])
def test_a_transaction_is_one_write_to_each_side(request_: bytes) -> None:
    stand, clients = place(3)
    server = stand.servers[0]
    for client in clients * 3:
        to_server, to_client = server.wire.writes, client.wire.writes
        client.send(request_)
        stand.run()
        assert server.wire.writes == to_server + 1
        assert client.wire.writes == to_client + 1


@pytest.mark.parametrize("request_", [SIMPLE, UNNAMED, NAMED], ids=["simple", "unnamed", "named"])
def test_waiting_for_a_connection_costs_no_write_and_no_pause(request_: bytes) -> None:
    stand, clients = place(4)
    server = stand.servers[0]
    to_server = server.wire.writes
    to_client = [client.wire.writes for client in clients]
    pauses = [client.wire.pauses for client in clients]
    for client in clients:
        client.send(request_)
        client.link.data_received(client.outgoing)
        client.outgoing = b""
    assert sum(client.link.parked for client in clients) == 3
    stand.run()
    assert server.wire.writes == to_server + 4
    assert [client.wire.writes for client in clients] == [count + 1 for count in to_client]
    assert [client.wire.pauses for client in clients] == pauses


def test_other_settings_ride_in_the_write_of_the_statement() -> None:
    stand, (first, second) = place(2)
    server = stand.servers[0]
    first.send(wire.query("SET work_mem = '1MB'"))
    stand.run()
    for client in (second, first, second):
        before = server.wire.writes
        client.send(SIMPLE)
        stand.run()
        assert server.wire.writes == before + 1


def test_an_idle_client_keeps_nothing_of_what_it_sent() -> None:
    stand, (client,) = place(1)
    client.send(wire.query("SELECT '" + "x" * 100_000 + "'"))
    stand.run()
    assert client.stream.to_server == b""
    assert client.stream.held == b""
