"""What is wrong with a configuration file, collected so that all of it is told at once."""

from __future__ import annotations

import json
from typing import Final

from proxy.errors import ConfigError

SHOWN_CHARACTERS: Final = 60
"""How much of a value a message shows."""


class Problems:
    """Collects problems by the path of the key; the first one of each path counts."""

    def __init__(self, source: str) -> None:
        self.source = source
        self._found: dict[str, str] = {}

    def add(self, path: str, message: str) -> None:
        """Note a problem; ``path`` is dotted and complete, ``message`` says the remedy."""
        self._found.setdefault(path, message)

    def touch(self, *paths: str) -> bool:
        """Say whether one of these keys has a problem, so that nothing follows from its value."""
        return any(path in self._found for path in paths)

    def __bool__(self) -> bool:
        return bool(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def error(self) -> ConfigError:
        """Make the one error that lists them all, a line each."""
        count = "1 problem" if len(self._found) == 1 else f"{len(self._found)} problems"
        lines = [f"  {path}: {message}" for path, message in self._found.items()]
        return ConfigError("\n".join([f"{self.source}: {count} in the configuration", *lines]))


def show(value: object) -> str:
    """Write a value as the file would have it, shortened; a table or list only by its kind."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and abs(value) >= 10**SHOWN_CHARACTERS:
        # str() of an integer of more than 4,300 digits raises.
        return "a huge integer"
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)
    printable = "".join(c if c.isprintable() else "?" for c in text)
    if len(printable) > SHOWN_CHARACTERS:
        return printable[: SHOWN_CHARACTERS - 3] + "..."
    return printable
