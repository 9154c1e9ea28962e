"""The queue of owed replies, against a slow model that keeps what a server has read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.postgres import pipeline as pl
from proxy.postgres.pipeline import Pipeline, Question, Reply
from proxy.postgres.prepared import Preparation, Statement

ENDS = {pl.QUERY, pl.SYNC, pl.FUNCTION_CALL, pl.OWN_QUERY, pl.OWN_SYNC}
"""Kinds that are answered by ReadyForQuery."""
SIMPLE = ENDS - {pl.SYNC, pl.OWN_SYNC}
EXTENDED = {pl.PARSE, pl.BIND, pl.DESCRIBE, pl.EXECUTE, pl.CLOSE}
OWN_EXTENDED = {pl.OWN_PARSE, pl.OWN_DESCRIBE, pl.OWN_CLOSE}
KINDS = sorted(ENDS | EXTENDED | OWN_EXTENDED)


class Model:
    """What a server owes, by the protocol's documentation, without any cleverness."""

    def __init__(self) -> None:
        self.sent: list[int] = []
        self.skipping = False

    def push(self, kind: int) -> None:
        self.sent.append(kind)
        self._discard()

    def _discard(self) -> None:
        while self.skipping and self.sent:
            if self.sent[0] in (pl.SYNC, pl.OWN_SYNC):
                self.skipping = False
            else:
                self.sent.pop(0)

    def succeed(self) -> int:
        return self.sent.pop(0)

    def fail(self) -> list[int]:
        if not self.sent or self.sent[0] in SIMPLE:
            return []
        before = list(self.sent)
        if self.sent[0] not in (pl.SYNC, pl.OWN_SYNC):
            self.skipping = True
            self._discard()
        return before[: len(before) - len(self.sent)]


def agree(pipeline: Pipeline, model: Model) -> None:
    assert [reply.kind for reply in pipeline.pending()] == model.sent
    assert pipeline.is_empty() == (not model.sent)
    assert pipeline.kind() == (model.sent[0] if model.sent else pl.NOTHING)
    assert pipeline.owed == sum(kind in ENDS for kind in model.sent)
    assert pipeline.skipping == model.skipping


@given(st.lists(st.one_of(st.sampled_from(KINDS), st.sampled_from(["ok", "ok", "error"]))))
def test_agrees_with_the_model(steps: list[int | str]) -> None:
    pipeline, model = Pipeline(), Model()
    for step in steps:
        if isinstance(step, int):
            pipeline.push(Reply(step))
            model.push(step)
        elif step == "error":
            assert [reply.kind for reply in pipeline.fail()] == model.fail()
        elif model.sent:
            assert pipeline.pop().kind == model.succeed()
        agree(pipeline, model)


def test_a_long_queue_is_kept_in_order_and_cut_down() -> None:
    pipeline = Pipeline()
    expected = 0
    for number in range(5000):
        pipeline.push(Reply(pl.QUERY, None, Question(number)))
        if number % 3:
            question = pipeline.pop().question
            assert question is not None
            assert question.purpose == expected
            expected += 1
    assert len(pipeline.replies) < 5000 - expected + 600
    while not pipeline.is_empty():
        question = pipeline.pop().question
        assert question is not None
        assert question.purpose == expected
        expected += 1
    assert (pipeline.replies, pipeline.head, pipeline.owed) == ([], 0, 0)


def pushed(*replies: Reply) -> Pipeline:
    pipeline = Pipeline()
    for reply in replies:
        pipeline.push(reply)
    return pipeline


def test_dropped_entries_say_what_they_prepared() -> None:
    made = Preparation(Statement(b"SELECT 1\0\0\0", None), b"s1", b"tidegate_1")
    pipeline = pushed(pl.BIND_REPLY, Reply(pl.PARSE, made), pl.SYNC_REPLY, pl.QUERY_REPLY)
    assert [reply.preparation for reply in pipeline.fail()] == [None, made]
    assert not pipeline.skipping
    assert pipeline.owed == 2


def test_an_error_drops_a_query_that_came_before_its_sync() -> None:
    pipeline = pushed(pl.PARSE_REPLY, pl.QUERY_REPLY, pl.FUNCTION_CALL_REPLY)
    assert len(pipeline.fail()) == 3
    assert pipeline.owed == 0
    assert pipeline.skipping


# COPY IN.


def test_copy_in_ignores_syncs_up_to_its_end() -> None:
    replies = (pl.EXECUTE_REPLY, pl.SYNC_REPLY, pl.COPY_END_REPLY, pl.SYNC_REPLY, pl.QUERY_REPLY)
    pipeline = pushed(*replies)
    assert pipeline.copy_in()
    assert not pipeline.copying
    assert pipeline.uncertain
    kinds = [reply.kind for reply in pipeline.pending()]
    assert kinds == [pl.EXECUTE, pl.COPY_END, pl.SYNC, pl.QUERY]
    assert pipeline.owed == 2
    assert pipeline.pop() is pl.EXECUTE_REPLY
    assert pipeline.kind() == pl.SYNC
    pipeline.copied()
    assert not pipeline.uncertain


def test_copy_in_that_is_not_ended_yet() -> None:
    pipeline = pushed(pl.QUERY_REPLY)
    assert not pipeline.copy_in()
    assert (pipeline.copying, pipeline.uncertain) == (True, False)
    pipeline.push(pl.SYNC_REPLY)
    assert pipeline.owed == 1, "the server ignores Sync during COPY IN"
    pipeline.push(pl.COPY_END_REPLY)
    assert (pipeline.copying, pipeline.uncertain) == (False, False)
    pipeline.push(pl.SYNC_REPLY)
    assert pipeline.owed == 2
    pipeline.pop()
    assert pipeline.kind() == pl.SYNC


def test_copy_in_after_answered_entries() -> None:
    pipeline = pushed(pl.BIND_REPLY, pl.EXECUTE_REPLY)
    pipeline.pop()
    assert not pipeline.copy_in()
    assert pipeline.kind() == pl.EXECUTE


def test_an_error_ends_copy_in() -> None:
    pipeline = pushed(pl.EXECUTE_REPLY)
    pipeline.copy_in()
    pipeline.fail()
    assert not pipeline.copying
    assert pipeline.skipping
    pipeline.push(pl.COPY_END_REPLY)
    pipeline.push(pl.SYNC_REPLY)
    assert [reply.kind for reply in pipeline.pending()] == [pl.SYNC]


def test_the_end_of_a_copy_that_is_over_owes_nothing() -> None:
    pipeline = pushed(pl.COPY_END_REPLY)
    assert pipeline.is_empty()
    pipeline = pushed(pl.QUERY_REPLY, pl.COPY_END_REPLY, pl.COPY_END_REPLY)
    pipeline.pop()
    assert pipeline.is_empty()


def test_what_only_a_sync_brings_out() -> None:
    pipeline = pl.Pipeline()
    assert not pipeline.awaits_sync()
    pipeline.push(pl.OWN_CLOSE_REPLY)
    assert pipeline.awaits_sync()
    pipeline.push(pl.QUERY_REPLY)
    assert not pipeline.awaits_sync()
