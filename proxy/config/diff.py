"""Compares two configurations, and says which changes a running process can apply."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

from proxy.config.schema import Key, Kind, keys_of
from proxy.config.show import literal

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.config.model import Config

T = TypeVar("T")

ABSENT: Final = ""
"""How the old side of an addition and the new side of a removal are shown."""


@dataclass(frozen=True, slots=True)
class Change:
    """One difference."""

    path: str
    """Dotted path of the key, or of the table that came or went."""
    old: str
    """The old value as the file would have it, secrets redacted; "" if it was not there."""
    new: str
    """The new value; "" if it is there no more."""
    live: bool
    """Whether a running process can apply it; otherwise it needs a restart."""


def compare(old: Config, new: Config) -> list[Change]:
    """List every difference between two configurations, in the order of the model."""
    return _tables(old, new, "")


def applied(old: Config, new: Config) -> Config:
    """Give what a process that runs ``old`` runs after it is told of ``new``.

    Live changes are in it, the others are not; ``compare`` with ``new`` lists what is left for a
    restart.
    """
    return _merge(old, new)


def _tables(old: object, new: object, path: str) -> list[Change]:
    model: type = type(old)
    found: list[Change] = []
    for name, key in keys_of(model).items():
        inner = f"{path}.{name}" if path else name
        before, after = getattr(old, name), getattr(new, name)
        found += _COMPARERS.get(key.kind, _values)(key, before, after, inner)
    return found


def _values(key: Key, old: object, new: object, path: str) -> list[Change]:
    if old == new:
        return []
    return [Change(path, literal(key, old), literal(key, new), key.reload)]


def _one_table(_key: Key, old: object, new: object, path: str) -> list[Change]:
    return _tables(old, new, path)


def _list(key: Key, old: tuple[object, ...], new: tuple[object, ...], path: str) -> list[Change]:
    found: list[Change] = []
    for index in range(max(len(old), len(new))):
        inner = f"{path}[{index}]"
        if index >= len(new):
            found.append(Change(inner, _brief(old[index]), ABSENT, key.reload))
        elif index >= len(old):
            found.append(Change(inner, ABSENT, _brief(new[index]), key.reload))
        else:
            found += _tables(old[index], new[index], inner)
    return found


def _named(key: Key, old: dict[str, Any], new: dict[str, Any], path: str) -> list[Change]:
    found: list[Change] = []
    for name in [*old, *(name for name in new if name not in old)]:
        inner = f"{path}.{name}"
        if name not in new:
            found.append(Change(inner, "a table", ABSENT, key.reload))
        elif name not in old:
            found.append(Change(inner, ABSENT, "a table", key.reload))
        else:
            found += _tables(old[name], new[name], inner)
    return found


def _brief(table: object) -> str:
    """Show an entry that came or went by what was set in it."""
    model: type = type(table)
    values = {name: (key, getattr(table, name)) for name, key in keys_of(model).items()}
    parts = [
        f"{name} = {literal(key, value)}"
        for name, (key, value) in values.items()
        if key.required or value != key.default
    ]
    return "{" + ", ".join(parts) + "}"


_COMPARERS: Final[dict[Kind, Callable[[Key, Any, Any, str], list[Change]]]] = {
    Kind.TABLE: _one_table,
    Kind.TABLES: _list,
    Kind.NAMED_TABLES: _named,
}


def _merge(old: T, new: T) -> T:
    model: type = type(old)
    values = {
        name: _merged(key, getattr(old, name), getattr(new, name))
        for name, key in keys_of(model).items()
    }
    return replace(old, **values)  # type: ignore[type-var]


def _merged(key: Key, old: Any, new: Any) -> object:  # noqa: ANN401 - of the key's kind
    if key.kind is Kind.TABLE:
        return _merge(old, new)
    if key.kind is Kind.TABLES:
        return _merged_list(key, old, new)
    if key.kind is Kind.NAMED_TABLES:
        # Proxies come and go only with a restart.
        return {name: _merge(old[name], new[name]) if name in new else old[name] for name in old}
    return new if key.reload else old


def _merged_list(key: Key, old: tuple[object, ...], new: tuple[object, ...]) -> tuple[object, ...]:
    both = tuple(_merge(before, after) for before, after in zip(old, new, strict=False))
    rest = new if key.reload else old
    return both + rest[len(both) :]
