"""The interface every source of secrets satisfies."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Credential:
    """One secret of one user, as a provider fetched it."""

    secret: str = field(repr=False)
    """A password, or a stored SCRAM verifier (``SCRAM-SHA-256$...``)."""

    expires_at: float | None = None
    """Monotonic time in seconds after which no new login may use it; ``None``: never."""

    username: str | None = None
    """The user the secret says it belongs to, where the source knows (Secrets Manager)."""


class CredentialProvider(Protocol):
    """Fetches the secret that one reference (``scheme:rest``) names."""

    async def fetch(self, user: str) -> Credential:
        """Fetch the secret now. Raises ``CredentialError``; never caches."""
        ...

    def changed(self) -> bool:
        """Say whether the source changed since the last ``fetch`` (cheap: a stat, never a read)."""
        ...
