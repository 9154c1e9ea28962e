"""Secrets in environment variables."""

from __future__ import annotations

import os

import pytest

from proxy.credentials.env import EnvironmentProvider
from proxy.errors import CredentialError


async def test_the_variable_is_read_at_each_fetch(monkeypatch: pytest.MonkeyPatch) -> None:
    provider = EnvironmentProvider("TIDEGATE_TEST_SECRET")
    monkeypatch.setenv("TIDEGATE_TEST_SECRET", "one")
    assert (await provider.fetch("app")).secret == "one"
    assert not provider.changed()
    monkeypatch.setenv("TIDEGATE_TEST_SECRET", "two\n")
    assert provider.changed()
    assert (await provider.fetch("app")).secret == "two\n"
    assert not provider.changed()


async def test_a_variable_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TIDEGATE_TEST_SECRET", raising=False)
    provider = EnvironmentProvider("TIDEGATE_TEST_SECRET")
    with pytest.raises(CredentialError, match=r"env:TIDEGATE_TEST_SECRET: .* is not set"):
        await provider.fetch("app")
    assert not provider.changed()
    monkeypatch.setenv("TIDEGATE_TEST_SECRET", "")
    assert provider.changed()
    with pytest.raises(CredentialError, match="is empty"):
        await provider.fetch("app")


async def test_a_value_that_is_not_utf8_is_refused_and_not_shown() -> None:
    os.environb[b"TIDEGATE_TEST_SECRET"] = b"hunter2\xff"
    try:
        with pytest.raises(CredentialError, match="not UTF-8") as caught:
            await EnvironmentProvider("TIDEGATE_TEST_SECRET").fetch("app")
    finally:
        del os.environb[b"TIDEGATE_TEST_SECRET"]
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("name", ["", "A=B", "A\0B"])
def test_what_cannot_be_a_name_is_refused(name: str) -> None:
    with pytest.raises(CredentialError, match="expected the name of a variable"):
        EnvironmentProvider(name)
