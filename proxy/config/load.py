"""Reads the configuration file: TOML to the model's dataclasses, every mistake told at once.

The model is the only list of keys: their types, ranges and choices are read from its fields. What
one value alone cannot show is in ``proxy.config.checks``. Environment variables are not put into
values; what has to differ between hosts is a file or a reference to a secret.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from proxy.config.checks import check
from proxy.config.model import Config
from proxy.config.problems import Problems, show
from proxy.config.schema import Key, Kind, keys_of
from proxy.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_SIZE_BYTES: Final = 1 << 20
"""Size of the file; a larger one is not a configuration."""

MAX_NUMBER: Final = 1e15
"""Largest number without a limit of its own; rules out infinity."""

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,63}")
_PLACEHOLDERS: Final[dict[Kind, object]] = {
    Kind.BOOLEAN: False,
    Kind.INTEGER: 0,
    Kind.NUMBER: 0.0,
    Kind.TEXT: "",
}
"""Stand-ins for required values that are missing or wrong, so that the checks can go on."""


def load(path: Path | str) -> Config:
    """Read and check a configuration file. Raises ``ConfigError`` with every problem in it."""
    source = str(path)
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_SIZE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"{source}: cannot be read: {reason}") from error
    if len(data) > MAX_SIZE_BYTES:
        raise ConfigError(f"{source}: larger than {MAX_SIZE_BYTES} bytes: not a configuration")
    try:
        # Editors on other systems begin files with a byte order mark, which TOML does not know.
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{source}: not UTF-8 at byte {error.start}: save it as UTF-8") from error
    return parse(text, source=source)


def parse(text: str, *, source: str) -> Config:
    """Read and check a configuration's text; ``source`` begins the message of an error.

    Raises ``ConfigError`` with every problem in it.
    """
    try:
        document = tomllib.loads(text)
    except RecursionError as error:
        raise ConfigError(f"{source}: not valid TOML: nested too deeply") from error
    except ValueError as error:
        raise ConfigError(f"{source}: not valid TOML: {error}") from error
    problems = Problems(source)
    config = _table(Config, document, "", problems)
    assert isinstance(config, Config)
    check(config, problems)
    if problems:
        raise problems.error()
    return config


def join(path: str, name: str) -> str:
    """Give the dotted path of a key in the table at ``path``; "" is the file itself."""
    return f"{path}.{name}" if path else name


def _table(
    model: type, table: dict[str, Any], path: str, problems: Problems, **extra: str
) -> object:
    keys = keys_of(model)
    for name in table:
        if name not in keys:
            shown = name if _NAME.fullmatch(name) else show(name)
            problems.add(join(path, shown), _unknown(name, model))
    values = {
        name: _value(key, table[name], join(path, name), problems)
        if name in table
        else _absent(key, join(path, name), problems)
        for name, key in keys.items()
    }
    return model(**values, **extra)


def _unknown(name: str, model: type) -> str:
    keys = keys_of(model)
    for key in keys.values():
        if key.table and key.kind is not Kind.NAMED_TABLES and name in keys_of(key.table):
            return f"unknown key here; it belongs in {key.name}"
    close = difflib.get_close_matches(name, keys, n=1)
    if close:
        return f"unknown key; did you mean {close[0]}?"
    return f"unknown key; known are {', '.join(keys)}"


def _absent(key: Key, path: str, problems: Problems) -> object:
    if key.required:
        problems.add(path, f"missing; it must be {key.kind.value}")
        return _PLACEHOLDERS[key.kind]
    return key.default


def _value(key: Key, value: object, path: str, problems: Problems) -> object:
    found = _READERS[key.kind](key, value, path, problems)
    if found is not None:
        return found
    return _PLACEHOLDERS[key.kind] if key.required else key.default


def _wrong_kind(key: Key, value: object, path: str, problems: Problems) -> None:
    remedy = ""
    if key.kind is Kind.TABLES and isinstance(value, dict):
        remedy = f"; write [[{path}]] with double brackets"
    elif key.kind is Kind.TABLE and isinstance(value, list):
        remedy = f"; write [{path}] with single brackets"
    elif key.kind is Kind.TEXT and isinstance(value, int | float) and not key.secret:
        remedy = "; put it in quotes"
    problems.add(path, f"must be {key.kind.value}{_not(key, value)}{remedy}")


def _not(key: Key, value: object) -> str:
    return "" if key.secret else f", not {show(value)}"


def _boolean(key: Key, value: object, path: str, problems: Problems) -> bool | None:
    if isinstance(value, bool):
        return value
    _wrong_kind(key, value, path, problems)
    return None


def _number(key: Key, value: object, path: str, problems: Problems) -> float | None:
    allowed = int if key.kind is Kind.INTEGER else int | float
    if isinstance(value, bool) or not isinstance(value, allowed):
        _wrong_kind(key, value, path, problems)
        return None
    lowest = -MAX_NUMBER if key.minimum is None else key.minimum
    highest = MAX_NUMBER if key.maximum is None else key.maximum
    # Written so that NaN fails too.
    if not lowest <= value <= highest:
        problems.add(path, f"must be {span(key)}{_not(key, value)}")
        return None
    return value if key.kind is Kind.INTEGER else float(value)


def span(key: Key) -> str:
    """Say which numbers a key takes."""
    if key.minimum is not None and key.maximum is not None:
        return f"from {key.minimum:.15g} to {key.maximum:.15g}"
    if key.minimum is not None:
        return f"{key.minimum:.15g} or more"
    if key.maximum is not None:
        return f"{key.maximum:.15g} or less"
    return f"from {-MAX_NUMBER:.15g} to {MAX_NUMBER:.15g}"


def _text(key: Key, value: object, path: str, problems: Problems) -> str | None:
    if not isinstance(value, str):
        _wrong_kind(key, value, path, problems)
    elif "\0" in value:
        problems.add(path, "must not contain a NUL character")
    elif key.filled and not value:
        problems.add(path, "must not be empty")
    elif value in key.planned:
        problems.add(path, f"{show(value)} cannot be used: {key.planned[value]}")
    elif key.choices and value not in key.choices:
        problems.add(path, f"must be {_one_of(key)}{_not(key, value)}")
    else:
        return value
    return None


def _one_of(key: Key) -> str:
    quoted = [show(choice) for choice in key.choices]
    return quoted[0] if len(quoted) == 1 else f"one of {', '.join(quoted)}"


def _texts(key: Key, value: object, path: str, problems: Problems) -> tuple[str, ...] | None:
    if not isinstance(value, list):
        _wrong_kind(key, value, path, problems)
        return None
    items = [_text(key, item, f"{path}[{i}]", problems) for i, item in enumerate(value)]
    return tuple(item for item in items if item is not None)


def _one_table(key: Key, value: object, path: str, problems: Problems) -> object:
    if isinstance(value, dict) and key.table:
        return _table(key.table, value, path, problems)
    _wrong_kind(key, value, path, problems)
    return None


def _tables(key: Key, value: object, path: str, problems: Problems) -> tuple[Any, ...] | None:
    if not isinstance(value, list) or key.table is None:
        _wrong_kind(key, value, path, problems)
        return None
    entries = []
    for index, entry in enumerate(value):
        if isinstance(entry, dict):
            entries.append(_table(key.table, entry, f"{path}[{index}]", problems))
        else:
            problems.add(f"{path}[{index}]", f"must be a table, not {show(entry)}")
    return tuple(entries)


def _named_tables(key: Key, value: object, path: str, problems: Problems) -> dict[str, Any] | None:
    if not isinstance(value, dict) or key.table is None:
        _wrong_kind(key, value, path, problems)
        return None
    tables = {}
    for name, entry in value.items():
        if not _NAME.fullmatch(name):
            problems.add(
                join(path, show(name)), "a name is 1 to 63 letters, digits, underscores or hyphens"
            )
        elif not isinstance(entry, dict):
            problems.add(join(path, name), f"must be a table; begin a proxy with [{path}.NAME]")
        else:
            tables[name] = _table(key.table, entry, join(path, name), problems, name=name)
    return tables


_READERS: Final[dict[Kind, Callable[[Key, object, str, Problems], object]]] = {
    Kind.BOOLEAN: _boolean,
    Kind.INTEGER: _number,
    Kind.NUMBER: _number,
    Kind.TEXT: _text,
    Kind.TEXTS: _texts,
    Kind.TABLE: _one_table,
    Kind.TABLES: _tables,
    Kind.NAMED_TABLES: _named_tables,
}
