"""The configuration model's fields as keys of the file: the one table that everything reads."""

from __future__ import annotations

import functools
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from collections.abc import Mapping


class Kind(Enum):
    """What a key holds."""

    BOOLEAN = "true or false"
    INTEGER = "an integer"
    NUMBER = "a number"
    TEXT = "a string"
    TEXTS = "a list of strings"
    TABLE = "a table"
    TABLES = "a list of tables"
    NAMED_TABLES = "a table of tables"


_SCALARS = {bool: Kind.BOOLEAN, int: Kind.INTEGER, float: Kind.NUMBER, str: Kind.TEXT}


@dataclass(frozen=True, slots=True)
class Key:
    """One key of one table."""

    name: str
    kind: Kind
    table: type | None
    """Model of the table or tables it holds; ``None`` for a value."""
    default: Any
    """What it is when left out; ``MISSING`` if it may not be."""
    minimum: float | None
    maximum: float | None
    choices: tuple[str, ...]
    planned: Mapping[str, str]
    filled: bool
    secret: bool
    reload: bool

    @property
    def required(self) -> bool:
        """Whether it may not be left out."""
        return self.default is MISSING


@functools.cache
def keys_of(model: type) -> dict[str, Key]:
    """Give the keys of a table's model by name; a field made without ``setting`` is no key."""
    types = get_type_hints(model)
    return {f.name: _key(f, types[f.name]) for f in fields(model) if "reload" in f.metadata}


def _key(field: Field[Any], annotation: object) -> Key:
    kind, table = _kind(annotation)
    default = field.default
    if field.default_factory is not MISSING:
        default = field.default_factory()
    return Key(field.name, kind, table, default, **field.metadata)


def _kind(annotation: object) -> tuple[Kind, type | None]:
    if annotation in _SCALARS:
        return _SCALARS[annotation], None
    if is_dataclass(annotation) and isinstance(annotation, type):
        return Kind.TABLE, annotation
    arguments = get_args(annotation)
    if get_origin(annotation) is dict:
        return Kind.NAMED_TABLES, arguments[1]
    if arguments[0] is str:
        return Kind.TEXTS, None
    return Kind.TABLES, arguments[0]
