"""Writes a configuration as the file that would give it: every key, defaults included."""

from __future__ import annotations

import json
from typing import Any

from proxy.config.schema import Key, Kind, keys_of
from proxy.credentials.reference import redact


def to_toml(config: object, *, redacted: bool = True) -> str:
    """Write a ``Config`` as TOML; what may be a secret is left out unless told otherwise."""
    return "\n\n".join(_blocks(config, "", "[{}]", redacted)) + "\n"


def _blocks(table: object, path: str, heading: str, redacted: bool) -> list[str]:
    """Give the block of a table's own values, if it has a path, then those of its tables."""
    model: type = type(table)
    keys = keys_of(model)
    lines = [
        f"{name} = {literal(key, getattr(table, name), redacted=redacted)}"
        for name, key in keys.items()
        if key.table is None
    ]
    blocks = ["\n".join([heading.format(path), *lines])] if path else []
    for name, key in keys.items():
        value = getattr(table, name)
        inner = f"{path}.{name}" if path else name
        if key.kind is Kind.TABLE:
            blocks += _blocks(value, inner, "[{}]", redacted)
        elif key.kind is Kind.TABLES:
            for entry in value:
                blocks += _blocks(entry, inner, "[[{}]]", redacted)
        elif key.kind is Kind.NAMED_TABLES:
            for entry_name, entry in value.items():
                blocks += _blocks(entry, f"{inner}.{entry_name}", "[{}]", redacted)
    return blocks


def literal(key: Key, value: Any, *, redacted: bool = True) -> str:  # noqa: ANN401 - of the key's kind
    """Write one value as TOML."""
    if key.kind is Kind.TEXTS:
        return "[" + ", ".join(_string(item) for item in value) + "]"
    if key.kind is Kind.TEXT:
        return _string(redact(value) if key.secret and redacted else value)
    if key.kind is Kind.BOOLEAN:
        return "true" if value else "false"
    if key.kind is Kind.NUMBER and value == int(value):
        return str(int(value))
    return str(value)


def _string(text: str) -> str:
    # JSON's escapes are TOML's, but TOML wants DEL escaped and knows no surrogate pairs.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
