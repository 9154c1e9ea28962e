"""The collector of problems and how it shows values."""

from __future__ import annotations

import datetime

import pytest

from proxy.config.problems import SHOWN_CHARACTERS, Problems, show


def test_one_error_lists_them_all() -> None:
    problems = Problems("a.toml")
    assert not problems
    problems.add("one", "is wrong")
    problems.add("two", "is missing")
    problems.add("one", "follows from the first")
    assert problems
    assert len(problems) == 2
    assert str(problems.error()) == (
        "a.toml: 2 problems in the configuration\n  one: is wrong\n  two: is missing"
    )


def test_touch_says_whether_a_value_can_be_relied_on() -> None:
    problems = Problems("a.toml")
    problems.add("one", "is wrong")
    assert problems.touch("one", "two")
    assert not problems.touch("two")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (True, "true"),
        (5, "5"),
        (1.5, "1.5"),
        ("a", '"a"'),
        ("\x1b[31m", '"\\u001b[31m"'),
        ("\x9b31m", '"?31m"'),
        ({"a": 1}, "a table"),
        ([1], "a list"),
        (datetime.date(2026, 1, 2), "2026-01-02"),
    ],
)
def test_values_are_shown_as_the_file_has_them(value: object, shown: str) -> None:
    assert show(value) == shown


def test_huge_integers_are_not_written_out() -> None:
    assert show(10**5000) == show(-(10**5000)) == "a huge integer"


def test_long_values_are_shortened() -> None:
    assert len(show("x" * 500)) == SHOWN_CHARACTERS
    assert show("x" * 500).endswith("...")
