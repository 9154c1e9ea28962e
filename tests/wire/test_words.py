"""The walk through the table finds the words of any set, and nothing else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.wire import words

letters = st.text("abc;", min_size=1, max_size=4).map(str.encode)


@given(st.lists(letters, max_size=6), st.text("abcABC; \n", max_size=12).map(str.encode))
def test_words_are_found_wherever_they_begin(known: list[bytes], sql: bytes) -> None:
    text = sql.lower().rstrip(b" \n;")
    assert words.has_word(words.table_of(known), sql) == any(word in text for word in known)


def test_a_word_within_the_beginning_of_another_is_found() -> None:
    table = words.table_of([b"abcd", b"bc"])
    assert words.has_word(table, b"xabcx")
    assert not words.has_word(table, b"xabx")
