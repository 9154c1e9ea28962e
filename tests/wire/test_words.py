"""The walk through the table finds the words of any set, and nothing else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.wire import words

letters = st.text("abc;", min_size=1, max_size=4).map(str.encode)


@given(st.lists(letters, max_size=6), st.text("abcABC; \n", max_size=12).map(str.encode))
def test_words_are_found_wherever_they_begin(known: list[bytes], sql: bytes) -> None:
    text = sql.lower().rstrip(b" \n;")
    assert words.has_word(words.table_of(known), sql, 0, len(sql)) == any(
        word in text for word in known
    )


def test_a_word_within_the_beginning_of_another_is_found() -> None:
    table = words.table_of([b"abcd", b"bc"])
    assert words.has_word(table, b"xabcx", 0, 5)
    assert not words.has_word(table, b"xabx", 0, 4)


@given(st.lists(letters, max_size=6), st.text("abcABC;", max_size=6).map(str.encode))
def test_a_text_begins_with_a_word_or_not(known: list[bytes], sql: bytes) -> None:
    unambiguous = sorted(
        word for word in set(known) if not any(word.startswith(o) for o in known if o != word)
    )
    table = words.beginnings_of(unambiguous)
    expected = sql.lower().startswith(tuple(unambiguous))
    assert words.begins_with_word(table, b"x" + sql, 1, len(sql) + 1) == expected
