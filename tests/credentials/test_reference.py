"""References taken apart and shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.credentials.reference import redact, split
from proxy.errors import CredentialError


@pytest.mark.parametrize(
    ("reference", "parts"),
    [
        ("env:A", ("env", "A")),
        ("static:a:b", ("static", "a:b")),
        ("aws-secret:arn:aws:x", ("aws-secret", "arn:aws:x")),
        ("file:/a b", ("file", "/a b")),
    ],
)
def test_scheme_and_rest(reference: str, parts: tuple[str, str]) -> None:
    assert split(reference) == parts


@pytest.mark.parametrize("reference", ["", "hunter2", ":hunter2", "Hunter2:x", "hunter 2:x", "é:x"])
def test_what_is_no_reference_is_not_repeated(reference: str) -> None:
    with pytest.raises(CredentialError, match="must be a reference such as") as caught:
        split(reference)
    assert "unter" not in str(caught.value)


def test_a_reference_to_nothing_is_refused() -> None:
    with pytest.raises(CredentialError, match="nothing follows"):
        split("env:")


@pytest.mark.parametrize(
    ("reference", "shown"),
    [
        ("", ""),
        ("env:A", "env:A"),
        ("file:/a", "file:/a"),
        ("static:hunter2", "static:***"),
        ("vault:path#key", "vault:***"),
        ("hunter2", "***"),
        ("Hunter2:x", "***"),
        (":hunter2", "***"),
    ],
)
def test_only_where_a_secret_is_gets_shown(reference: str, shown: str) -> None:
    assert redact(reference) == shown


@given(st.text(min_size=1).filter(lambda secret: secret not in "static:***"))
def test_static_secrets_are_never_shown(secret: str) -> None:
    assert secret not in redact(f"static:{secret}")
