"""Start-up parameters that PostgreSQL reads before any session exists: ``options`` and booleans."""

from __future__ import annotations

import re
from typing import Final

from proxy.errors import InvalidParameterValue, InvalidStartupOption

_ARGUMENT: Final = re.compile(r"(?:\\.|\\\Z|[^\s\\])+", re.DOTALL | re.ASCII)
_ESCAPE: Final = re.compile(r"\\(.?)", re.DOTALL)


def split_options(text: str) -> list[str]:
    """Split at white space; a backslash makes the next character part of an argument.

    As ``pg_split_opts`` in PostgreSQL's ``postinit.c``.
    """
    return [_ESCAPE.sub(r"\1", match[0]) for match in _ARGUMENT.finditer(text)]


def parse_options(text: str) -> dict[str, str]:
    """Read settings from ``-c name=value``, ``-cname=value`` and ``--name=value``.

    Raises ``InvalidStartupOption`` for anything else: the other switches of the ``postgres``
    program (``-e``, ``-W`` and so on) cannot be carried from one server connection to another.
    """
    settings: dict[str, str] = {}
    arguments = iter(split_options(text))
    for argument in arguments:
        if argument.startswith("-c"):
            setting = argument[2:] or next(arguments, "")
            shown = f"-c {setting}"
        elif argument.startswith("--") and len(argument) > 2:
            setting = argument[2:]
            shown = argument
        else:
            raise InvalidStartupOption(
                f"invalid command-line argument for server process: {argument}"
            )
        name, equals, value = setting.partition("=")
        if not equals or not name:
            raise InvalidStartupOption(f"{shown} requires a value")
        settings[name.replace("-", "_")] = value
    return settings


_WORDS: Final = {
    "true": (1, True),
    "false": (1, False),
    "yes": (1, True),
    "no": (1, False),
    "on": (2, True),
    "off": (2, False),
    "1": (1, True),
    "0": (1, False),
}
"""Word to how many letters of it are enough, and its meaning."""


def parse_boolean(name: str, value: str, *, also: str = "") -> bool:
    """Read a boolean as PostgreSQL does: unambiguous prefixes, any case.

    ``also`` is one more word that counts as true. Raises ``InvalidParameterValue``.
    """
    if also and value == also:
        return True
    given = value.lower()
    for word, (enough, meaning) in _WORDS.items():
        if len(given) >= enough and word.startswith(given):
            return meaning
    raise InvalidParameterValue(f'invalid value for parameter "{name}": "{value}"')
