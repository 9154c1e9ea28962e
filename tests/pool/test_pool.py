from __future__ import annotations

from proxy.errors import ConnectFailed
from tests.pool.pieces import Place, client, fill, server


def test_the_connection_used_last_is_lent_first() -> None:
    pool = Place(5).pool()
    first, second, third = fill(pool, 3)
    assert pool.take(10.0) is third
    pool.give(third, 11.0)
    assert [pool.take(12.0), pool.take(12.0), pool.take(12.0)] == [third, second, first]
    assert pool.take(12.0) is None
    assert (pool.borrowed, pool.idle) == (3, [])


def test_waiters_are_served_first_come_first_served() -> None:
    place = Place(1)
    pool = place.pool()
    (link,) = fill(pool, 1)
    assert pool.take(1.0) is link
    waiting = [client(pool, number) for number in range(3)]
    for number, waiter in enumerate(waiting):
        pool.park(waiter, 2.0 + number)
    for waiter in waiting:
        pool.give(link, 9.0)
        assert waiter.server is link
        waiter.stream.detach()
        waiter.server = link.client = None
    assert not pool.waiters


def test_a_newcomer_never_overtakes() -> None:
    place = Place(2)
    pool = place.pool()
    fill(pool, 1)
    pool.waiters.append(client(pool))
    assert pool.take(5.0) is None


def test_a_waiter_that_left_is_not_served() -> None:
    pool = Place(1).pool()
    (link,) = fill(pool, 1)
    pool.take(1.0)
    leaver, stayer = client(pool, 1), client(pool, 2)
    pool.park(leaver, 2.0)
    pool.park(stayer, 2.0)
    leaver.connection_lost(None)
    pool.give(link, 3.0)
    assert leaver.server is None
    assert stayer.server is link


def test_a_connection_past_its_lifetime_is_replaced() -> None:
    place = Place(1)
    pool = place.pool()
    pool.connecting += 1
    link = server(pool, 0.0, lifetime_s=60.0)
    pool.opened(link, 0.0)
    assert pool.take(59.0) is link
    pool.give(link, 61.0)
    assert pool.idle == []
    assert pool.closing == 1
    assert link.transport.take() == b"X\0\0\0\4"  # type: ignore[attr-defined]


def test_an_older_generation_is_not_lent_again() -> None:
    place = Place(3)
    pool = place.pool()
    lent, resting = fill(pool, 2)
    assert pool.take(5.0) is resting
    pool.retire_all()
    assert pool.idle == []
    assert lent.closing_since > 0
    pool.give(resting, 6.0)
    assert pool.idle == []
    assert (pool.borrowed, pool.closing, pool.size) == (0, 2, 2)


def test_a_closing_connection_keeps_its_slot_until_the_server_is_done() -> None:
    place = Place(1)
    pool = place.pool()
    (link,) = fill(pool, 1)
    pool.take(1.0)
    pool.retire_all()
    pool.give(link, 2.0)
    pool.park(client(pool), 3.0)
    assert place.asked == []
    assert place.target.used == 1
    link.connection_lost(None)
    assert place.asked == [pool]
    assert place.target.used == 1


def test_waiters_hear_of_a_failure_only_if_nobody_else_can_serve_them() -> None:
    place = Place(2)
    pool = place.pool()
    (link,) = fill(pool, 1)
    pool.take(1.0)
    patient = client(pool)
    pool.park(patient, 2.0)
    pool.open_failed(ConnectFailed("no route"), 3.0, 5.0)
    assert list(pool.waiters) == [patient]
    pool.retire_all()
    pool.give(link, 4.0)
    link.connection_lost(None)
    pool.connecting = 2
    pool.open_failed(ConnectFailed("no way"), 8.0, 5.0)
    assert list(pool.waiters) == [patient], "another attempt may succeed"
    pool.open_failed(ConnectFailed("no route"), 9.0, 5.0)
    assert not pool.waiters
    assert patient.closed
    assert b"no route" in patient.transport.unsent  # type: ignore[attr-defined]


def test_after_a_failure_the_server_is_left_alone_for_a_while() -> None:
    place = Place(5)
    pool = place.pool()
    pool.connecting += 1
    pool.open_failed(ConnectFailed("refused"), 10.0, 2.0)
    pool.park(client(pool), 11.0)
    assert place.asked == []
    place.target.demand(pool, 12.5)
    assert place.asked == [pool]


def test_a_pool_nobody_could_use_is_useless() -> None:
    place = Place(5)
    pool = place.pool()
    assert pool.is_useless()
    pool.sessions = 1
    assert not pool.is_useless()
    pool.sessions = 0
    pool.counters.setup_succeeded = 1
    assert not pool.is_useless()


def test_a_connection_that_goes_over_to_another_pool() -> None:
    place = Place(5)
    pool, other = place.pool(), place.pool("shop")
    [link, outdated] = fill(pool, 2)
    for _ in range(2):
        pool.take(2.0)
    pool.retire_all()
    link.generation = pool.generation
    for each in (link, outdated):
        other.adopt(each)
    assert (pool.size, other.size, other.borrowed) == (0, 2, 2)
    other.give(link, 3.0)
    assert other.idle == [link]
    other.give(outdated, 3.0)
    assert other.idle == [link], "it logged in with a secret that has changed"
