"""Bringing an abandoned server connection back."""

from __future__ import annotations

from proxy.postgres import pipeline as pl
from tests.postgres.streams import (
    FAILED,
    IDLE,
    IN_TRANSACTION,
    PARSED,
    Pair,
    answered,
    completed,
    refused,
)
from tests.support import messages as wire
from tests.support.messages import message

ROLLBACK = wire.query("ROLLBACK")
DISCARD = wire.query("DISCARD ALL")


def abandoned(pair: Pair) -> Pair:
    pair.client.detach()
    return pair


def test_a_clean_connection_needs_nothing() -> None:
    pair = abandoned(Pair())
    assert pair.server.unstick() == b""
    assert pair.server.recover() == b""
    assert pair.server.is_idle()


def test_an_open_transaction_is_rolled_back_before_state_is_discarded() -> None:
    pair = Pair()
    for status in (IN_TRANSACTION, FAILED):
        pair.send(wire.query("BEGIN"))
        pair.answer(completed("BEGIN"), status)
        pair.server.dirty = True
        pair.client.detach()
        assert pair.server.recover() == ROLLBACK
        assert pair.answer(completed("ROLLBACK"), IDLE) == b""
        assert pair.server.recover() == DISCARD
        assert pair.answer(completed("DISCARD ALL"), IDLE) == b""
        assert pair.server.recover() == b""
        assert pair.server.reusable()
        pair.other()


def test_after_discard_all_the_settings_are_those_without_the_baseline() -> None:
    pair = Pair()
    pair.shared.learn_baseline({"work_mem": "5MB"})
    pair.server.settings = pair.shared.settings.intern({"work_mem": "9MB"})
    pair.server.dirty = True
    abandoned(pair).server.recover()
    assert pair.server.settings is pair.shared.discarded
    pair.answer(completed("DISCARD ALL"), IDLE)
    assert b"set_config('work_mem','5MB',false)" in (pair.other(), pair.send(wire.SYNC))[1]


def test_cleaning_that_fails_ends_the_connection() -> None:
    pair = Pair()
    pair.server.dirty = True
    abandoned(pair).server.recover()
    assert pair.answer(refused(), IDLE) == b""
    assert not pair.server.reusable()


def test_a_missing_sync_is_sent() -> None:
    pair = Pair()
    pair.send(wire.parse("SELECT 1"), wire.bind())
    pair.answer(PARSED)
    assert abandoned(pair).server.unstick() == wire.SYNC
    assert pair.server.unstick() == b""
    pair.answer(message("2"), IDLE)
    assert pair.server.is_idle()


def test_what_was_executed_without_a_sync_is_not_committed() -> None:
    pair = Pair()
    pair.send(wire.run("INSERT INTO t VALUES (1)"), wire.FLUSH)
    pair.answer(PARSED, message("2"), message("n"), completed("INSERT 0 1"))
    assert pair.server.unstick() == wire.describe("S", "tidegate: client gone") + wire.SYNC
    assert pair.answer(refused("26000"), IDLE) == b""
    assert pair.server.is_idle()
    assert pair.server.reusable()


def test_what_runs_without_a_sync_is_answered_and_not_committed() -> None:
    pair = Pair()
    pair.send(wire.run("INSERT INTO t VALUES (1)"))
    assert pair.server.unstick()
    replies = (PARSED, message("2"), message("n"), completed("INSERT 0 1"))
    assert pair.answer(*replies, refused("26000"), IDLE) == b"".join(replies)
    assert pair.server.is_idle()


def test_an_error_of_what_was_executed_without_a_sync_answers_for_our_own() -> None:
    pair = Pair()
    pair.send(wire.run("INSERT INTO t VALUES (1)"))
    assert pair.server.unstick()
    assert pair.answer(PARSED, refused("23505"), IDLE) == PARSED + refused("23505")
    assert pair.server.is_idle()


def test_what_was_synced_needs_no_error() -> None:
    pair = Pair()
    pair.send(wire.run("INSERT INTO t VALUES (1)"), wire.SYNC)
    pair.answer(PARSED, message("2"), message("n"), completed("INSERT 0 1"), IDLE)
    pair.send(wire.parse("SELECT 1"), wire.FLUSH)
    assert pair.server.unstick() == wire.SYNC


def test_a_missing_sync_after_an_error_is_sent() -> None:
    pair = Pair()
    pair.send(wire.parse("SELECT 1"))
    pair.answer(refused())
    assert pair.server.awaits_client()
    assert abandoned(pair).server.unstick() == wire.SYNC
    pair.answer(IDLE)
    assert pair.server.is_idle()


def test_a_copy_is_ended() -> None:
    pair = Pair()
    pair.send(wire.query("COPY t FROM STDIN"))
    pair.answer(message("G", b"\0\0\0"))
    assert abandoned(pair).server.unstick() == wire.copy_fail("client gone")
    assert pair.server.unstick() == b""
    assert not pair.server.is_idle()
    pair.answer(refused("57014"), IDLE)
    assert pair.server.is_idle()


def test_a_copy_of_the_extended_protocol_is_ended_and_synced() -> None:
    pair = Pair()
    pair.send(wire.run("COPY t FROM STDIN"), wire.FLUSH)
    pair.answer(PARSED, message("2"), message("n"), message("G", b"\0\0\0"))
    assert abandoned(pair).server.unstick() == wire.copy_fail("client gone") + wire.SYNC
    pair.answer(refused("57014"), IDLE)
    assert pair.server.is_idle()


def test_a_probe_is_not_heard_by_anybody() -> None:
    pair = abandoned(Pair())
    assert pair.server.probe() == wire.query("")
    assert pair.server.pipeline.kind() == pl.OWN_QUERY
    assert pair.answer(message("I"), IDLE) == b""
    assert pair.server.reusable()


def test_a_probe_that_a_late_cancel_hits_ends_the_connection() -> None:
    pair = abandoned(Pair())
    pair.server.probe()
    pair.answer(refused("57014"), IDLE)
    assert not pair.server.reusable()


def test_replies_on_their_way_to_nobody_are_awaited() -> None:
    pair = Pair()
    pair.send(wire.query("SELECT 1"))
    abandoned(pair)
    assert not pair.server.is_quiet()
    pair.answer(answered())
    assert pair.server.is_idle()
