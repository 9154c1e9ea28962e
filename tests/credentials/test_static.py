"""Secrets in the configuration itself."""

from __future__ import annotations

import pytest

from proxy.credentials.static import StaticProvider
from proxy.errors import CredentialError


async def test_the_secret_is_what_is_written() -> None:
    provider = StaticProvider("a:b ")
    credential = await provider.fetch("anyone")
    assert (credential.secret, credential.expires_at) == ("a:b ", None)
    assert not provider.changed()


def test_an_empty_secret_is_refused() -> None:
    with pytest.raises(CredentialError, match="empty"):
        StaticProvider("")
