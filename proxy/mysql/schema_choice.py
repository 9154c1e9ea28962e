"""Finds the default schema that a command chooses: COM_INIT_DB, or a text that is one plain USE."""

from __future__ import annotations

import re
from typing import Final

from proxy.mysql.constants import COM_INIT_DB, COM_QUERY
from proxy.mysql.query_attributes import text_start

_USE: Final = re.compile(rb"\s*use\s+(?:`([^`]+)`|([\w$]+))\s*;?\s*", re.IGNORECASE)


def chosen_schema(payload: bytes, *, attributes: bool) -> bytes:
    """Name of the schema; ``b""`` if none is chosen, or its name is not plain.

    ``attributes`` is whether CLIENT_QUERY_ATTRIBUTES is in force. Names with letters that are not
    ASCII depend on the session's character set.
    """
    name = b""
    if payload[0] == COM_INIT_DB:
        name = payload[1:]
    elif payload[0] == COM_QUERY:
        found = _USE.fullmatch(payload, text_start(payload) if attributes else 1)
        name = b"" if found is None else (found[1] or found[2])
    return name if name.isascii() else b""
