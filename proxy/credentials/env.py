"""``env:NAME``: a secret in an environment variable of the process."""

from __future__ import annotations

import os

from proxy.credentials.base import Credential
from proxy.errors import CredentialError


class EnvironmentProvider:
    """Reads one environment variable. Raises ``CredentialError`` for what cannot be a name."""

    def __init__(self, name: str) -> None:
        if not name or "=" in name or "\0" in name:
            raise CredentialError('env: expected the name of a variable, as in "env:APP_PASSWORD"')
        self._name = name
        self._seen: str | None = None

    async def fetch(self, user: str) -> Credential:
        """Give the variable's value. Raises ``CredentialError`` if it is not set or empty."""
        value = os.environ.get(self._name)
        self._seen = value
        if value is None:
            raise CredentialError(f"env:{self._name}: the environment variable is not set")
        if not value:
            raise CredentialError(f"env:{self._name}: the environment variable is empty")
        try:
            value.encode()
        except UnicodeEncodeError:
            # What the system could not decode arrives as lone surrogates. Not chained: the error
            # holds the value.
            raise CredentialError(f"env:{self._name}: the value is not UTF-8") from None
        return Credential(value)

    def changed(self) -> bool:
        """Whether this process changed the variable; nobody else can."""
        return os.environ.get(self._name) != self._seen
