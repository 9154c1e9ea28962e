"""SASLprep: RFC 4013's examples, and where PostgreSQL leaves a password alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.postgres.saslprep import saslprep


@pytest.mark.parametrize(
    ("password", "expected"),
    [
        # RFC 4013 section 3.
        ("I\u00adX", "IX"),
        ("user", "user"),
        ("USER", "USER"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        # Other spaces become spaces; ligatures fall apart.
        ("a\u00a0b", "a b"),
        ("\ufb01ne", "fine"),
        ("e\u0301", "\u00e9"),
        ("\u0627\u0628", "\u0627\u0628"),
    ],
)
def test_normalised(password: str, expected: str) -> None:
    assert saslprep(password.encode()) == expected.encode()


@pytest.mark.parametrize(
    "password",
    [
        "\u0007é",  # a control character
        "\u0627\u0031",  # RFC 4013 section 3: right-to-left text that ends otherwise
        "\u0627a\u0628",  # both directions
        "\u00ad",  # nothing is left
        "\U0001f600",  # not assigned in Unicode 3.2
        "\ue000",  # private use
    ],
)
def test_prohibited_is_left_alone(password: str) -> None:
    assert saslprep(password.encode()) == password.encode()


def test_ascii_control_characters_are_left_alone() -> None:
    assert saslprep(b"\x07bell") == b"\x07bell"


@given(st.binary(max_size=30))
def test_any_bytes(password: bytes) -> None:
    prepared = saslprep(password)
    assert bool(prepared) == bool(password)
    assert saslprep(prepared) == prepared
