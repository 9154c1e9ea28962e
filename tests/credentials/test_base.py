"""What a provider gives."""

from __future__ import annotations

from proxy.credentials.base import Credential, CredentialProvider
from proxy.credentials.registry import BUILT_IN


def test_a_credential_does_not_show_its_secret() -> None:
    credential = Credential("hunter2", username="app")
    assert "hunter2" not in f"{credential} {credential!r}"
    assert "app" in repr(credential)


async def test_the_built_in_providers_satisfy_the_interface() -> None:
    arguments = {"env": "PATH", "file": "/dev/null", "static": "hunter2"}
    assert set(arguments) == set(BUILT_IN)
    for scheme, factory in BUILT_IN.items():
        provider: CredentialProvider = factory(arguments[scheme])
        assert provider.changed() == (scheme != "static")
