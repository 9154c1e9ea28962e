"""Every time limit, with the clock in the test's hands: nothing here waits."""

from __future__ import annotations

from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING

import pytest

from proxy.config.model import ProxyConfig, TargetGroupConfig
from proxy.metrics.counters import PoolCounters
from proxy.net.janitor import CLIENT_TICKS, HALF_CLOSED_S, STALLED_S, Janitor
from proxy.pool.pool import Pool
from proxy.pool.upkeep import SURPLUS_IDLE_S
from proxy.session.server_link import FAREWELL_S, RECOVERY_S
from tests.support import messages as wire
from tests.support.stand import Client, Stand

if TYPE_CHECKING:
    from proxy.session.server_link import ServerLink

SLEEP = wire.query("SELECT pg_sleep(9)")
HALF_A_MESSAGE = wire.copy_data(b"1\n" * 50_000)[:50_000]


class Tended(Stand):
    """A stand with a janitor."""

    def __init__(self, maximum: int = 1, *, connect: bool = True, **settings: object) -> None:
        super().__init__(maximum, connect=connect)
        self.timed_out: list[ServerLink] = []
        self.forgotten: list[Pool] = []
        group = TargetGroupConfig(
            max_connections=maximum,
            connection_borrow_timeout_s=5.0,
            max_idle_connections_percent=50,
        )
        config = ProxyConfig(name="p", target_group=group, idle_transaction_timeout_s=60.0)
        self.janitor = Janitor(
            replace(config, **settings),  # type: ignore[arg-type]
            self.target,
            lambda: [client.link for client in self.clients if not client.link.closed],
            lambda: [server.link for server in self.servers if not server.wire.lost],
            self.timed_out.append,
            self.forgotten.append,
        )

    def tick(self, later_s: float) -> None:
        """Let the janitor look as if so many seconds had passed, then deliver everything."""
        self.janitor.tick(monotonic() + later_s)
        self.run()

    def asked(self, *data: bytes) -> Client:
        """Log a client in and deliver what it sends."""
        client = self.client()
        client.send(b"".join(data))
        self.run()
        return client

    def burst(self, size: int) -> None:
        """Have so many connections open, and then all of them idle."""
        clients = [self.asked(wire.query("BEGIN")) for _ in range(size)]
        for client in clients:
            client.send(wire.query("COMMIT") + wire.TERMINATE)
        self.run()
        assert len(self.pool.idle) == size


def states(client: Client) -> list[str]:
    """Take the SQLSTATEs of the errors a client got since the last look."""
    return wire.states(client.messages())


# Waiting for a server connection.


def test_borrow_timeout() -> None:
    stand = Tended()
    holder = stand.asked(wire.query("BEGIN"))
    waiter = stand.asked(wire.query("SELECT 1"))
    stand.tick(4.9)
    assert stand.pool.counters.borrow_timeouts == 0
    stand.tick(5.1)
    got = waiter.messages()
    assert wire.codes(got) == "EZ"
    assert got[0].fields["C"] == "53300"
    assert got[0].fields["S"] == "ERROR"
    assert "within 5 seconds" in got[0].fields["M"]
    assert stand.pool.counters.borrow_timeouts == 1
    assert not stand.pool.waiters
    holder.send(wire.query("COMMIT"))
    waiter.send(wire.query("SELECT 2"))
    stand.run()
    assert wire.rows(waiter.messages()) == [[b"2"]], "the session goes on"


def test_borrow_timeout_strikes_those_who_waited_long_enough() -> None:
    stand = Tended()
    stand.asked(wire.query("BEGIN"))
    first, second = stand.asked(wire.query("SELECT 1")), stand.asked(wire.query("SELECT 2"))
    first.link.waiting_since -= 3
    stand.tick(3)
    assert states(first) == ["53300"]
    assert not second.got
    assert list(stand.pool.waiters) == [second.link]


def test_waiters_are_served_once_the_back_off_is_over() -> None:
    stand = Tended(connect=False)
    stand.pool.failures, stand.pool.retry_at = 1, monotonic() + 2
    waiter = stand.asked(wire.query("SELECT 1"))
    stand.tick(1)
    assert stand.opening == []
    stand.connect = True
    stand.tick(3)
    assert wire.rows(waiter.messages()) == [[b"1"]]


# Clients with a server connection.


def test_idle_in_transaction() -> None:
    stand = Tended()
    client = stand.asked(wire.query("BEGIN"))
    client.messages()
    stand.tick(59)
    assert not client.got
    stand.tick(61)
    got = client.messages()
    assert [(m.fields["C"], m.fields["S"]) for m in got] == [("25P03", "FATAL")]
    assert client.link.closed
    assert stand.database.executed[-1].upper().startswith(("ROLLBACK", "ABORT", "DISCARD"))
    assert stand.servers[0].peer.status == "I"
    assert stand.pool.idle == [stand.servers[0].link], "rolled back and ready for the next"


def test_idle_in_transaction_turned_off() -> None:
    stand = Tended(idle_transaction_timeout_s=0.0)
    client = stand.asked(wire.query("BEGIN"))
    for _ in range(CLIENT_TICKS):
        stand.tick(100_000)
    assert not client.link.closed


def test_idle_in_transaction_counts_from_the_servers_answer() -> None:
    stand = Tended()
    client = stand.asked(wire.query("BEGIN"))
    client.link.last_received -= 100
    stand.tick(0)
    assert not client.link.closed
    client.link.progress_at -= 100
    stand.tick(0)
    assert states(client) == ["25P03"]


def test_working_servers_clients_are_not_idle() -> None:
    stand = Tended()
    client = stand.asked(wire.query("BEGIN"), SLEEP)
    stand.tick(10_000)
    assert not client.link.closed
    assert stand.timed_out == []


def test_half_closed_client() -> None:
    stand = Tended()
    client = stand.asked(SLEEP)
    assert client.link.eof_received()
    stand.tick(HALF_CLOSED_S - 0.1)
    assert not client.link.closed
    stand.tick(HALF_CLOSED_S + 0.1)
    assert client.wire.aborted
    assert client.link.close_reason == "client closed the connection"
    assert stand.journal.events.count("cancel") == 1, "its query must not run on"
    assert stand.pool.idle == [stand.servers[0].link]


@pytest.mark.parametrize(("limit_s", "allowed_s"), [(5.0, 5.0), (0.0, STALLED_S)])
def test_client_that_does_not_read(limit_s: float, allowed_s: float) -> None:
    stand = Tended(idle_transaction_timeout_s=limit_s)
    client = stand.asked(SLEEP)
    client.link.pause_writing()
    stand.tick(allowed_s - 0.1)
    assert not client.link.closed
    stand.tick(allowed_s + 0.1)
    assert client.wire.aborted
    assert client.link.close_reason == "stalled"


def test_client_that_stops_in_the_middle_of_a_message() -> None:
    stand = Tended(idle_transaction_timeout_s=0.0)
    client = stand.asked(wire.query("COPY t FROM STDIN"), HALF_A_MESSAGE)
    client.messages()
    assert client.stream.in_message()
    stand.tick(STALLED_S - 0.1)
    assert not client.link.closed
    stand.tick(STALLED_S + 0.1)
    assert client.wire.aborted
    assert client.link.close_reason == "stalled"


def test_client_whose_server_does_not_read_is_not_to_blame() -> None:
    stand = Tended(idle_transaction_timeout_s=0.0)
    client = stand.asked(wire.query("COPY t FROM STDIN"), HALF_A_MESSAGE)
    assert client.stream.in_message()
    stand.servers[0].link.pause_writing()
    stand.tick(STALLED_S + 0.1)
    assert not client.link.closed


def test_query_timeout_cancels_once() -> None:
    stand = Tended(query_timeout_s=3.0)
    client = stand.asked(SLEEP)
    server = stand.servers[0]
    stand.tick(2.9)
    assert stand.timed_out == []
    for later_s in (3.1, 3.3, 30):
        stand.tick(later_s)
    assert stand.timed_out == [server.link]
    server.say(server.peer.wake(cancelled=True))
    client.send(SLEEP)
    stand.run()
    assert states(client) == ["57014"]
    stand.tick(3.1)
    assert stand.timed_out == [server.link] * 2, "the next query has its own limit"


def test_no_query_timeout_unless_asked_for() -> None:
    stand = Tended()
    stand.asked(SLEEP)
    stand.tick(10_000)
    assert stand.timed_out == []


# Clients at rest.


def tick_clients(stand: Tended, later_s: float) -> None:
    """Tick until the resting clients have been looked at."""
    for _ in range(CLIENT_TICKS):
        stand.tick(later_s)


def test_idle_client() -> None:
    stand = Tended(idle_client_timeout_s=30.0)
    client = stand.asked(wire.query("SELECT 1"))
    client.messages()
    tick_clients(stand, 29)
    assert not client.link.closed
    tick_clients(stand, 31)
    assert states(client) == ["57P05"]
    assert client.link.close_reason == "idle"


def test_pinned_client_may_be_idle_too() -> None:
    stand = Tended(idle_client_timeout_s=30.0)
    client = stand.asked(wire.query("LISTEN c"))
    client.messages()
    assert client.link.server is not None
    tick_clients(stand, 31)
    assert states(client) == ["57P05"]


def test_clients_that_wait_or_work_are_not_idle() -> None:
    stand = Tended(
        idle_client_timeout_s=1.0,
        idle_transaction_timeout_s=0.0,
        target_group=TargetGroupConfig(connection_borrow_timeout_s=300.0),
    )
    working = stand.asked(SLEEP)
    waiting = stand.asked(wire.query("SELECT 1"))
    tick_clients(stand, 31)
    assert waiting.link.parked
    assert not working.link.closed
    stand.servers[0].say(stand.servers[0].peer.wake())
    stand.run()
    assert wire.rows(waiting.messages()) == [[b"1"]]


# Server connections without a client.


def test_recovery_is_bounded() -> None:
    stand = Tended()
    client = stand.asked(SLEEP)
    stand.servers[0].frozen = True
    client.vanish()
    stand.run()
    server = stand.servers[0]
    assert server.link.recovering_since
    stand.tick(RECOVERY_S - 0.1)
    assert not server.link.closing_since
    stand.tick(RECOVERY_S + 0.1)
    assert server.link.closing_since
    assert stand.journal.events[-1] == "server closed: did not become clean in time"
    assert (stand.pool.borrowed, stand.pool.closing) == (0, 1), "its slot is taken until it is gone"


def test_farewell_is_bounded() -> None:
    stand = Tended()
    stand.burst(1)
    server = stand.servers[0]
    server.frozen = True
    stand.pool.retire_all()
    stand.tick(FAREWELL_S - 0.1)
    assert not server.wire.aborted
    assert stand.pool.closing == 1
    stand.tick(FAREWELL_S + 0.1)
    assert server.wire.aborted


# How many server connections.


def test_surplus_idle_connections_are_closed_after_a_while() -> None:
    stand = Tended(4)
    stand.burst(4)
    stand.tick(SURPLUS_IDLE_S - 1)
    assert stand.pool.open == 4
    oldest = stand.pool.idle[:2]
    stand.tick(SURPLUS_IDLE_S + 1)
    assert stand.pool.open == 2, "half of the budget may be idle"
    assert [server.link for server in stand.servers if server.wire.lost] == oldest
    assert stand.journal.events.count("server closed: idle") == 2
    assert all(server.peer.received[-1] == wire.TERMINATE for server in stand.servers[:2])


def test_expired_connections_are_closed() -> None:
    stand = Tended(4)
    stand.burst(2)
    stand.servers[0].link.expires_at = monotonic() + 10
    stand.tick(9)
    assert stand.pool.open == 2
    stand.tick(11)
    assert stand.pool.open == 1
    assert stand.servers[0].wire.lost


def test_shrunk_budget_closes_idle_connections_at_once() -> None:
    stand = Tended(4)
    stand.burst(4)
    stand.target.maximum = 1
    # Stand.run checks that the budget is kept, and here it has yet to be reached.
    stand.janitor.tick(monotonic())
    assert (len(stand.pool.idle), stand.pool.closing) == (1, 3)
    stand.janitor.tick(monotonic())
    assert (len(stand.pool.idle), stand.pool.closing) == (1, 3)


def test_minimum_is_opened_ahead_of_demand() -> None:
    stand = Tended(4)
    stand.pool.minimum = 3
    stand.tick(0)
    assert len(stand.pool.idle) == 3
    stand.tick(SURPLUS_IDLE_S + 1)
    assert stand.pool.open == 3, "the minimum is no surplus"


def test_minimum_stays_within_the_budget() -> None:
    stand = Tended(2)
    stand.pool.minimum = 9
    stand.tick(0)
    assert stand.pool.open == 2


def test_useless_pools_are_forgotten() -> None:
    stand = Tended()
    useless, wanted = (
        Pool(stand.target, ("typo", "user", ()), PoolCounters(), 0, stand.shared) for _ in "12"
    )
    wanted.sessions = 1
    stand.target.pools += [useless, wanted]
    stand.burst(1)
    stand.pool.counters.setup_succeeded = 1
    stand.tick(0)
    assert stand.forgotten == [useless]


def test_reloaded_limits_apply() -> None:
    stand = Tended()
    client = stand.asked(wire.query("BEGIN"))
    client.messages()
    stand.janitor.config = replace(stand.janitor.config, idle_transaction_timeout_s=1.0)
    stand.tick(2)
    assert states(client) == ["25P03"]
