"""From the scheme of a reference to the provider that fetches it.

Built-in schemes are listed here. Anyone else registers a factory under the entry-point group
``tidegate.credentials``: the entry point's name is the scheme, its object is called with what
follows the colon and returns a ``CredentialProvider``. Plug-ins are imported when a reference uses
them, so one that is broken or slow to import harms nobody else. They cannot replace a built-in.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Final

from proxy.credentials.base import CredentialProvider
from proxy.credentials.env import EnvironmentProvider
from proxy.credentials.file import FileProvider
from proxy.credentials.reference import split
from proxy.credentials.static import StaticProvider
from proxy.errors import CredentialError

GROUP: Final = "tidegate.credentials"
"""Entry-point group of plug-ins."""

Factory = Callable[[str], CredentialProvider]
"""Makes a provider from what follows the colon. Raises ``CredentialError``; does no I/O."""

BUILT_IN: Final[dict[str, Factory]] = {
    "env": EnvironmentProvider,
    "file": FileProvider,
    "static": StaticProvider,
}


def known_schemes() -> tuple[str, ...]:
    """Give every scheme there is, plug-ins' included, whether or not they can be imported."""
    return tuple(sorted({*BUILT_IN, *_plug_ins()}))


def check_reference(reference: str) -> None:
    """Raise ``CredentialError`` if a reference cannot be used; fetches and imports nothing."""
    scheme, rest = split(reference)
    if scheme in BUILT_IN:
        BUILT_IN[scheme](rest)
    elif scheme not in _plug_ins():
        raise _unknown(scheme)


def open_provider(reference: str) -> CredentialProvider:
    """Make the provider of a reference. Raises ``CredentialError``."""
    scheme, rest = split(reference)
    factory = BUILT_IN.get(scheme)
    if factory is not None:
        return factory(rest)
    entry_point = _plug_ins().get(scheme)
    if entry_point is None:
        raise _unknown(scheme)
    try:
        plug_in: Factory = entry_point.load()
        return plug_in(rest)
    except CredentialError:
        raise
    except Exception as error:
        # The error's text may quote the reference: only its type is told.
        raise CredentialError(
            f'the plug-in {entry_point.value} of the scheme "{scheme}" cannot be used: '
            f"{type(error).__name__}",
        ) from error


def _plug_ins() -> dict[str, EntryPoint]:
    return {found.name: found for found in entry_points(group=GROUP)}


def _unknown(scheme: str) -> CredentialError:
    # A password with a colon in it looks like a reference too: what was written is not repeated.
    known = known_schemes()
    close = difflib.get_close_matches(scheme, known, n=1)
    guess = f'; did you mean "{close[0]}:"?' if close else ""
    return CredentialError(f"its scheme is unknown; known are {', '.join(known)}{guess}")
