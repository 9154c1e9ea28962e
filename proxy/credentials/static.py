"""``static:SECRET``: a secret written into the configuration, for trying things out."""

from __future__ import annotations

from proxy.credentials.base import Credential
from proxy.errors import CredentialError


class StaticProvider:
    """The secret is the rest of the reference, as it is written, colons included."""

    def __init__(self, secret: str) -> None:
        if not secret:
            raise CredentialError("static: the secret is empty")
        self._credential = Credential(secret)

    async def fetch(self, user: str) -> Credential:
        """Give the secret."""
        return self._credential

    def changed(self) -> bool:
        """Never: a reload with another secret is another reference."""
        return False
