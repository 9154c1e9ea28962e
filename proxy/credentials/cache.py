"""Secrets in use, fetched as rarely as correct: one entry for each (reference, user).

An entry is

* **fresh**: it answers without waiting;
* **ageing** (``REFRESH_AHEAD_S`` before it expires): it answers, and is fetched again meanwhile;
* **due** (never fetched, changed at the source, or rejected by a server) or **expired**: whoever
  asks waits for one fetch, which all share and nobody's cancellation ends;
* **failed**: the error is remembered and repeated for a time that doubles with each failure, or
  until the source changes. A secret that was good stays in use for ``OUTAGE_S`` after the source
  first failed, unless it expires: a file in the middle of being replaced fails no login.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from proxy.credentials import registry
from proxy.credentials.reference import redact
from proxy.errors import CredentialError
from proxy.net.logs import event
from proxy.net.runtime import spawn

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.credentials.base import Credential, CredentialProvider

log = logging.getLogger("tidegate.credentials")

LOOK_S: Final = 1.0
"""Least seconds between two looks at a source, by ``changed()`` or after a rejection."""
REFRESH_AHEAD_S: Final = 60.0
"""Seconds before expiry at which a secret is fetched again; at most half of its remaining life."""
BACKOFF_FIRST_S: Final = 0.5
BACKOFF_MOST_S: Final = 30.0
OUTAGE_S: Final = 60.0
"""Seconds that a secret outlives the first failure to fetch it again."""
FETCH_TIMEOUT_S: Final = 10.0
MAX_ENTRIES: Final = 10_000
"""Clients choose user names, and an entry for ``*`` takes any: the least recently used go."""


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """A secret in use. A change of the secret makes a new one, with nothing derived yet."""

    secret: str = field(repr=False)
    username: str | None
    generation: int
    """Grows whenever a fetch finds another secret; what logged in with an older one may go."""
    derived: dict[str, Any] = field(default_factory=dict, repr=False)
    """Room for what is computed from the secret once, such as SCRAM keys."""


@dataclass(slots=True, eq=False)
class _Entry:
    """What is known of one (reference, user)."""

    reference: str
    user: str
    provider: CredentialProvider | None = None
    held: Held | None = None
    expires_at: float | None = None
    refresh_at: float | None = None
    looked_at: float = 0.0
    """When the source was last fetched or asked for a change."""
    due: bool = True
    rejected: bool = False
    """A server did not accept ``held`` since the last fetch began."""
    error: CredentialError | None = None
    """Why the last fetch failed; ``None`` if it did not."""
    failures: int = 0
    failing_since: float = 0.0
    retry_at: float = 0.0
    fetching: asyncio.Task[None] | None = None

    def usable(self, now: float) -> bool:
        """Whether ``held`` may still be used for a login."""
        alive = self.expires_at is None or now < self.expires_at
        return self.held is not None and alive


class CredentialCache:
    """The secrets of a process. ``clock`` is monotonic, in seconds, as ``Credential`` expects."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        open_provider: Callable[[str], CredentialProvider] = registry.open_provider,
        fetch_timeout_s: float = FETCH_TIMEOUT_S,
        max_entries: int = MAX_ENTRIES,
    ) -> None:
        self._clock = clock
        self._open_provider = open_provider
        self._fetch_timeout_s = fetch_timeout_s
        self._max_entries = max_entries
        self._entries: OrderedDict[tuple[str, str], _Entry] = OrderedDict()
        self._generation = 0

    async def get(self, reference: str, user: str) -> Held:
        """Give a user's secret, waiting for a fetch only if need be. Raises ``CredentialError``."""
        entry = self._entry(reference, user)
        now = self._clock()
        self._look(entry, now)
        if not entry.due and entry.usable(now):
            assert entry.held is not None
            if entry.refresh_at is not None and now >= entry.refresh_at:
                self._fetch_unless_failing(entry, now)
            return entry.held
        task = self._fetch_unless_failing(entry, now)
        if task is not None:
            # Unlike awaiting it, this leaves the task alone when the caller is cancelled.
            await asyncio.wait({task})
        return self._outcome(entry)

    def invalidate(self, reference: str, user: str) -> None:
        """Note that a server rejected the secret: the next login fetches it again.

        At most once in ``LOOK_S``, or logins with a wrong password would hammer the source.
        """
        entry = self._entries.get((reference, user))
        if entry is not None:
            entry.rejected = True

    def expires_at(self, reference: str, user: str) -> float | None:
        """Monotonic time at which a secret in use ends; ``None``: never, or not known."""
        entry = self._entries.get((reference, user))
        return entry.expires_at if entry is not None else None

    def _entry(self, reference: str, user: str) -> _Entry:
        key = (reference, user)
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
            return entry
        entry = self._entries[key] = _Entry(reference, user)
        if len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)
        return entry

    def _look(self, entry: _Entry, now: float) -> None:
        """Notice a change at the source, or that a rejected secret may be fetched again."""
        if entry.fetching is not None or now - entry.looked_at < LOOK_S:
            return
        entry.looked_at = now
        if entry.rejected:
            entry.due = True
        if entry.provider is not None and _changed(entry.provider):
            entry.due = True
            # What was wrong with the source may have been put right.
            entry.retry_at = now

    def _fetch_unless_failing(self, entry: _Entry, now: float) -> asyncio.Task[None] | None:
        """Start a fetch, or join the one under way; ``None`` while backing off."""
        if entry.fetching is not None:
            return entry.fetching
        if entry.error is not None and now < entry.retry_at:
            return None
        entry.rejected = False
        entry.fetching = spawn(self._fetch(entry), "fetch credential")
        return entry.fetching

    async def _fetch(self, entry: _Entry) -> None:
        """Fetch and note what came of it; raises only if it is cancelled."""
        try:
            try:
                if entry.provider is None:
                    entry.provider = self._open_provider(entry.reference)
                async with asyncio.timeout(self._fetch_timeout_s):
                    found = await entry.provider.fetch(entry.user)
                self._fetched(entry, found)
            except CredentialError as error:
                self._failed(entry, error)
            except TimeoutError:
                self._failed(entry, CredentialError("the source of the secret did not answer"))
            except Exception as error:
                # A plug-in's mistake; the error's text may hold the secret.
                message = f"the source of the secret failed: {type(error).__name__}"
                self._failed(entry, CredentialError(message))
        finally:
            entry.fetching = None

    def _fetched(self, entry: _Entry, found: Credential) -> None:
        now = self._clock()
        if found.expires_at is not None and found.expires_at <= now:
            raise CredentialError("the source gave a secret that has expired already")
        held = entry.held
        if held is None or (held.secret, held.username) != (found.secret, found.username):
            self._generation += 1
            entry.held = Held(found.secret, found.username, self._generation)
        entry.expires_at = found.expires_at
        entry.refresh_at = None
        if found.expires_at is not None:
            life_s = found.expires_at - now
            entry.refresh_at = found.expires_at - min(REFRESH_AHEAD_S, life_s / 2)
        entry.looked_at = now
        entry.due = False
        entry.error = None
        entry.failures = 0

    def _failed(self, entry: _Entry, error: CredentialError) -> None:
        now = self._clock()
        if entry.error is None:
            entry.failing_since = now
        entry.looked_at = now
        entry.error = error
        entry.retry_at = now + min(BACKOFF_MOST_S, BACKOFF_FIRST_S * 2.0 ** min(entry.failures, 10))
        entry.failures += 1
        if entry.usable(now):
            event(
                log,
                logging.WARNING,
                "credential_stale",
                source=redact(entry.reference),
                user=entry.user,
                error=str(error),
            )

    def _outcome(self, entry: _Entry) -> Held:
        now = self._clock()
        error = entry.error
        bearable = error is None or now - entry.failing_since < OUTAGE_S
        if entry.held is not None and entry.usable(now) and bearable:
            return entry.held
        if error is None:
            error = CredentialError("the secret could not be fetched: cut short")
        raise CredentialError(str(error), detail=error.detail) from error


def _changed(provider: CredentialProvider) -> bool:
    try:
        return provider.changed()
    except Exception:
        # A plug-in's mistake, which must not fail a login that could go on without it.
        return False
