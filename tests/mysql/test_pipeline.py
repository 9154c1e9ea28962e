"""Commands and questions of ours."""

from __future__ import annotations

from proxy.mysql import pipeline as pl


def test_a_query_with_and_without_attributes() -> None:
    assert pl.query(b"DO 0", attributes=False) == b"\x05\0\0\0\x03DO 0"
    assert pl.query(b"DO 0", attributes=True) == b"\x07\0\0\0\x03\0\x01DO 0"


def test_another_command() -> None:
    assert pl.command(0x02, b"app") == b"\x04\0\0\0\x02app"


def test_an_answer_is_kept_up_to_a_bound() -> None:
    question = pl.Question(pl.WARNINGS)
    full = []
    for payload in (b"x" * pl.MOST_ANSWER_BYTES, b"y"):
        question.keep(payload)
        full.append(question.too_long)
    assert full == [False, True]
    assert question.payloads == [b"x" * pl.MOST_ANSWER_BYTES]
