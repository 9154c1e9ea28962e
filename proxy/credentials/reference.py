"""References to secrets: ``scheme:rest``, and how to show one without showing a secret."""

from __future__ import annotations

import re
from typing import Final

from proxy.errors import CredentialError

_SCHEME: Final = re.compile(r"[a-z][a-z0-9-]{0,31}")
_OPEN_SCHEMES: Final = frozenset({"env", "file"})
"""Schemes whose references say where a secret is, and nothing of the secret."""


def split(reference: str) -> tuple[str, str]:
    """Take a reference apart: scheme and rest.

    Raises ``CredentialError``, which does not repeat the reference: what has no scheme may well be
    a password.
    """
    scheme, colon, rest = reference.partition(":")
    if not colon or not _SCHEME.fullmatch(scheme):
        raise CredentialError(
            'must be a reference such as "env:NAME", "file:/path" or "static:SECRET"'
        )
    if not rest:
        raise CredentialError('nothing follows the ":" of the reference')
    return scheme, rest


def redact(reference: str) -> str:
    """Show a reference without what may be a secret."""
    scheme, colon, _ = reference.partition(":")
    if scheme in _OPEN_SCHEMES or not reference:
        return reference
    if not colon or not _SCHEME.fullmatch(scheme):
        return "***"
    return f"{scheme}:***"
