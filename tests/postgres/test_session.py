"""What a session carries, asks, and is pinned by."""

from __future__ import annotations

import pytest

from proxy.postgres import effects as fx
from proxy.postgres import pipeline as pl
from proxy.postgres.changes import SESSION_POOLING
from proxy.postgres.hidden import CATALOGUE_QUERY
from proxy.postgres.pipeline import Question
from proxy.postgres.pool_state import PoolState
from tests.postgres.streams import (
    IDLE,
    IN_TRANSACTION,
    Pair,
    answered,
    completed,
    make_client,
    make_server,
    refused,
    reports,
    row,
)
from tests.support import messages as wire


def settle(pair: Pair, *rows: bytes) -> bytes:
    """End of a transaction: what is asked, and the server's answer to it."""
    asked = pair.client.settle()
    if asked:
        assert pair.answer(answered(*rows)) == b""
    return asked


def ran(pair: Pair, sql: str, tag: str) -> None:
    pair.send(wire.query(sql))
    pair.answer(completed(tag), IDLE)


# Pins.


def test_a_new_session_is_free() -> None:
    pair = Pair()
    assert pair.client.pin_reason() == ""
    assert pair.client.settle() == b""
    assert not pair.client.session.is_unsettled()


def test_what_exists_pins_until_it_is_gone() -> None:
    pair = Pair()
    ran(pair, "LISTEN a", "LISTEN")
    assert pair.client.session.is_unsettled()
    assert b"pg_listening_channels" in settle(pair, row("listen", None, None))
    assert not pair.client.session.is_unsettled()
    assert pair.client.pin_reason() == "listen"
    assert pair.server.needs_cleaning()
    ran(pair, "SELECT 1", "SELECT 1")
    assert settle(pair) == b""
    ran(pair, "UNLISTEN *", "UNLISTEN")
    assert settle(pair)
    assert pair.client.pin_reason() == ""
    assert not pair.server.needs_cleaning()


def test_an_end_of_one_kind_leaves_the_others() -> None:
    pair = Pair()
    ran(pair, "LISTEN a; SELECT pg_advisory_lock(1)", "SELECT 1")
    settle(pair, row("listen", None, None), row("advisory_lock", None, None))
    assert pair.client.session.pins == fx.LISTEN | fx.ADVISORY_LOCK
    ran(pair, "UNLISTEN *", "UNLISTEN")
    asked = settle(pair)
    assert b"pg_locks" not in asked
    assert pair.client.pin_reason() == "advisory_lock"
    assert pair.server.needs_cleaning()


def test_what_does_not_exist_does_not_pin() -> None:
    pair = Pair()
    ran(pair, "CREATE TEMP TABLE t ()", "CREATE TABLE")
    assert settle(pair)
    assert pair.client.pin_reason() == ""
    assert not pair.server.needs_cleaning()


def test_what_cannot_be_asked_about_pins_for_good() -> None:
    pair = Pair()
    ran(pair, "SELECT set_config($1, 'x', false)", "SELECT 1")
    assert settle(pair) == b""
    assert pair.client.pin_reason() == "set_config"
    assert pair.server.needs_cleaning()
    assert pair.server.reusable()
    ran(pair, "LISTEN a", "LISTEN")
    assert settle(pair) == b"", "a pinned session need not be asked"


def test_what_discard_all_leaves_ends_the_connection() -> None:
    pair = Pair()
    ran(pair, "LOAD 'x'", "LOAD")
    settle(pair)
    assert not pair.server.reusable()
    ran(pair, "DISCARD ALL", "DISCARD ALL")
    settle(pair)
    assert pair.client.pin_reason() == "load"


def test_discard_all_frees_a_session_that_was_pinned_for_good() -> None:
    pair = Pair()
    ran(pair, "SELECT set_config($1, 'x', false)", "SELECT 1")
    settle(pair)
    ran(pair, "DISCARD ALL", "DISCARD ALL")
    settle(pair)
    assert pair.client.pin_reason() == ""


def test_session_pooling_is_never_undone() -> None:
    pair = Pair()
    pair.client.session.permanent = SESSION_POOLING
    ran(pair, "DISCARD ALL", "DISCARD ALL")
    settle(pair)
    assert pair.client.pin_reason() == SESSION_POOLING


def test_a_question_that_fails_pins() -> None:
    pair = Pair()
    ran(pair, "SET work_mem = 1", "SET")
    assert pair.client.settle()
    assert pair.answer(refused(), IDLE) == b""
    assert pair.client.pin_reason() == "unreadable_setting"
    assert pair.server.needs_cleaning()


# Settings.


def test_a_setting_is_read_back_and_carried() -> None:
    pair = Pair()
    ran(pair, "SET work_mem = '9000kB'", "SET")
    assert b"current_setting('work_mem'" in settle(pair, row("setting", "work_mem", "9000kB"))
    assert pair.client.session.settings.values == {"work_mem": "9000kB"}
    assert pair.server.settings is pair.client.session.settings
    assert pair.client.pin_reason() == ""
    pair.elsewhere()
    sent = pair.send(wire.query("SELECT 1"))
    assert sent.startswith(wire.query("SELECT pg_catalog.set_config('work_mem','9000kB',false)"))
    assert sent.endswith(wire.query("SELECT 1"))
    assert pair.answer(answered(row("9000kB"))) == b""


def test_the_next_session_does_not_get_it() -> None:
    pair = Pair()
    ran(pair, "SET work_mem = '9MB'", "SET")
    settle(pair, row("setting", "work_mem", "9MB"))
    pair.other()
    assert pair.send(wire.query("SELECT 1")) == wire.query('RESET "work_mem"') + wire.query(
        "SELECT 1"
    )
    assert pair.server.settings is pair.shared.settings.none
    assert pair.send(wire.query("SELECT 2")) == wire.query("SELECT 2")


def test_a_reset_goes_back_to_what_the_session_started_with() -> None:
    shared = PoolState(max_prepared_statements=9)
    client, server = make_client(shared, work_mem="5MB"), make_server(shared)
    client.attach(server)
    client.receive(wire.query("RESET work_mem"))
    assert b"'5MB'" in client.to_server
    server.receive(answered(row("5MB")) + completed("RESET") + IDLE)
    while server.pipeline.owed:
        server.receive(answered())
    client.settle()
    server.receive(answered(row("setting", "work_mem", "4MB")))
    assert client.session.settings is client.session.startup


def test_a_baseline_is_not_lost_by_a_reset() -> None:
    shared = PoolState(max_prepared_statements=9)
    shared.learn_baseline({"work_mem": "5MB"})
    pair = Pair(shared=shared)
    ran(pair, "RESET ALL", "RESET")
    assert b"'work_mem'" in settle(pair, row("setting", "work_mem", "4MB"))
    pair.other()
    sent = pair.send(wire.query("SELECT 1"))
    assert b"set_config('work_mem','5MB',false)" in sent


def test_nothing_is_replayed_in_a_transaction_or_before_it_is_settled() -> None:
    pair = Pair()
    pair.send(wire.query("BEGIN"))
    pair.answer(completed("BEGIN"), IN_TRANSACTION)
    pair.client.session.settings = pair.shared.settings.intern({"a.b": "1"})
    assert pair.client.session.replay(pair.server) == b""
    pair.send(wire.query("COMMIT"))
    pair.answer(completed("COMMIT"), IDLE)
    assert pair.client.session.replay(pair.server) != b""
    assert pair.client.session.replay(pair.server) == b""


def test_a_replay_that_fails_ends_the_session() -> None:
    pair = Pair()
    pair.client.session.settings = pair.shared.settings.intern({"role": "gone"})
    pair.send(wire.query("SELECT 1"))
    question = Question(pl.REPLAY)
    question.error = refused("22023", "role does not exist")[5:]
    refusal = pair.client.session.replayed(question, pair.server)
    assert refusal is not None
    assert refusal.code == "22023"
    assert refusal.response is not None
    assert refusal.response.startswith(b"E")
    assert b"SFATAL\0VFATAL\0" in refusal.response
    assert pair.server.needs_cleaning()
    assert pair.client.session.replayed(Question(pl.REPLAY), pair.server) is None


# Prepared in SQL, sequences, definitions.


def test_execute_may_do_what_was_prepared() -> None:
    pair = Pair()
    ran(pair, "PREPARE p AS SELECT set_config('a.b', '1', false)", "PREPARE")
    ran(pair, "PREPARE q AS SELECT 1", "PREPARE")
    settle(pair, row("prepared_statement", None, None))
    ran(pair, "EXECUTE p", "SELECT 1")
    assert b"'a.b'" in settle(pair, row("setting", "a.b", "1"))
    assert pair.client.session.settings.values["a.b"] == "1"
    ran(pair, "DISCARD ALL", "DISCARD ALL")
    settle(pair)
    ran(pair, "EXECUTE p", "SELECT 1")
    assert settle(pair) == b""


def test_sequences_of_others_are_discarded_first() -> None:
    pair = Pair()
    currval = wire.query("SELECT currval('s')")
    discard = wire.query("DISCARD SEQUENCES")
    assert pair.send(currval) == discard + currval
    pair.answer(completed("DISCARD SEQUENCES"), IDLE, answered(row("1")))
    settle(pair)
    assert pair.send(currval) == currval
    pair.answer(answered(row("1")))
    settle(pair)
    pair.other()
    assert pair.send(currval) == discard + currval


def test_a_definition_has_the_catalogue_read_again() -> None:
    pair = Pair()
    ran(pair, "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'x'", "CREATE FUNCTION")
    assert pair.client.settle() == wire.query(CATALOGUE_QUERY)
    pair.answer(answered(row("f", "SELECT set_config('a.b', '', false)")))
    ran(pair, "SELECT f()", "SELECT 1")
    assert b"'a.b'" in settle(pair, row("setting", "a.b", ""))
    ran(pair, "DROP FUNCTION f", "DROP FUNCTION")
    assert pair.client.settle()
    pair.answer(answered())
    assert pair.shared.hidden is None


# Parameter statuses.


def test_a_status_of_its_own_statement_is_told_and_noted() -> None:
    pair = Pair()
    pair.send(wire.query("SELECT something()"))
    told = pair.answer(completed("SELECT 1"), reports("TimeZone", "Asia/Tokyo"), IDLE)
    assert reports("TimeZone", "Asia/Tokyo") in told
    assert b"'timezone'" in settle(pair, row("setting", "timezone", "Asia/Tokyo"))
    assert pair.client.session.settings.values == {"timezone": "Asia/Tokyo"}


def test_a_status_of_a_replay_is_told_only_if_it_is_news() -> None:
    pair = Pair()
    session = pair.client.session
    session.settings = pair.shared.settings.intern({"timezone": "Asia/Tokyo"})
    pair.send(wire.query("SELECT 1"))
    replayed = answered(row("Asia/Tokyo"))[: -len(IDLE)]
    told = pair.answer(replayed, reports("TimeZone", "Asia/Tokyo"), IDLE)
    assert told == reports("TimeZone", "Asia/Tokyo")
    assert pair.answer(answered()) == answered()
    assert not session.is_unsettled()
    assert session.reported_by_server("TimeZone", "Asia/Tokyo", ours=True) == b""


@pytest.mark.parametrize(
    ("name", "value", "carried", "told"),
    [
        ("TimeZone", "UTC", {}, False),
        ("TimeZone", "Asia/Tokyo", {}, True),
        ("TimeZone", "Asia/Tokyo", {"timezone": "UTC"}, False),
        ("server_version", "18.1", {}, True),
        ("is_superuser", "on", {"role": "boss"}, False),
    ],
)
def test_news_of_another_server(name: str, value: str, carried: dict[str, str], told: bool) -> None:
    """What a replay will change is not told; it changes when it is replayed."""
    shared = PoolState(max_prepared_statements=9)
    client = make_client(shared)
    client.session.settings = shared.settings.intern(carried)
    server = make_server(shared, **{name: value})
    client.attach(server)
    assert (reports(name, value) in client.announce) == told
    assert client.session.news(server) == b""
