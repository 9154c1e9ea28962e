"""The start-up parameter ``options`` and booleans, read as PostgreSQL reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import InvalidParameterValue, InvalidStartupOption
from proxy.postgres.options import parse_boolean, parse_options, split_options


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        (" \t\n ", {}),
        ("-c a=1", {"a": "1"}),
        ("-ca=1", {"a": "1"}),
        ("--a=1", {"a": "1"}),
        ("--work-mem=1 -c  statement-timeout=2", {"work_mem": "1", "statement_timeout": "2"}),
        ("-c a=1 -c a=2", {"a": "2"}),
        ("-c a=", {"a": ""}),
        ("-c a=b=c", {"a": "b=c"}),
        ("-c search_path=x,\\ y", {"search_path": "x, y"}),
        ("-c a=x\\\\y", {"a": "x\\y"}),
        ("-c a=x\\", {"a": "x"}),
        ("-c a=\\\ty", {"a": "\ty"}),
        ("-c a=é", {"a": "é"}),
        ("-c a=\u00a0", {"a": "\u00a0"}),
    ],
)
def test_settings(text: str, expected: dict[str, str]) -> None:
    assert parse_options(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("-e", "invalid command-line argument for server process: -e"),
        ("a=1", "invalid command-line argument for server process: a=1"),
        ("-W 5", "invalid command-line argument for server process: -W"),
        ("--", "invalid command-line argument for server process: --"),
        ("-c", "-c  requires a value"),
        ("-c a", "-c a requires a value"),
        ("-c =1", "-c =1 requires a value"),
        ("--a", "--a requires a value"),
        ("\\", "invalid command-line argument for server process: "),
    ],
)
def test_what_is_no_setting(text: str, message: str) -> None:
    with pytest.raises(InvalidStartupOption) as caught:
        parse_options(text)
    assert str(caught.value) == message


@given(st.lists(st.text(min_size=1), min_size=1))
def test_splitting_undoes_escaping(arguments: list[str]) -> None:
    escaped = ["".join("\\" + character for character in argument) for argument in arguments]
    assert split_options(" ".join(escaped)) == arguments


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        settings = parse_options(text)
    except InvalidStartupOption:
        return
    assert "" not in settings


@pytest.mark.parametrize("value", ["true", "t", "TRUE", "yes", "y", "on", "ON", "1"])
def test_true(value: str) -> None:
    assert parse_boolean("replication", value)


@pytest.mark.parametrize("value", ["false", "f", "no", "n", "off", "of", "0"])
def test_false(value: str) -> None:
    assert not parse_boolean("replication", value)


@pytest.mark.parametrize("value", ["", "o", "2", "truely", "database"])
def test_no_boolean(value: str) -> None:
    with pytest.raises(InvalidParameterValue, match="replication"):
        parse_boolean("replication", value)


def test_one_word_more() -> None:
    assert parse_boolean("replication", "database", also="database")
