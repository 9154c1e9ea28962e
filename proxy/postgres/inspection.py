"""Finds out from an SQL text what it may leave behind in its session (``effects.py``).

Text that needs no question must be recognised cheaply (``inspect``); text that may need one is
taken apart once and remembered.
"""

from __future__ import annotations

import re
from typing import Final

from proxy.postgres.effects import (
    ADVISORY_LOCK,
    ALL_STATE,
    CURSOR_WITH_HOLD,
    LISTEN,
    PREPARED_STATEMENT,
    TEMPORARY_TABLE,
    Effects,
)
from proxy.postgres.suspicion import HARMLESS_WORDS, is_suspicious
from proxy.postgres.tokens import Token, identifier, statements

_CACHE_ENTRIES: Final = 4096
_CACHE_TEXT_BYTES: Final = 8192
_cache: dict[bytes, Effects | None] = {}


def inspect(sql: bytes) -> Effects | None:
    """Say what a query text may leave behind; ``None`` for nothing."""
    space = sql.find(b" ")
    word = sql[:space] if space > 0 else sql.rstrip(b";\0 \n")
    if word.lower() in HARMLESS_WORDS and not is_suspicious(sql):
        return None
    if sql in _cache:
        return _cache[sql]
    effects = _analyse(sql)
    if len(sql) <= _CACHE_TEXT_BYTES:
        if len(_cache) >= _CACHE_ENTRIES:
            _cache.clear()
        _cache[sql] = effects
    return effects


def _analyse(sql: bytes) -> Effects | None:
    effects = Effects()
    for tokens in statements(sql):
        if tokens[0].kind == "cut":
            effects.permanent = "statement_size"
            break
        rule = _RULES.get(tokens[0].text)
        if rule is not None:
            rule(effects, [token.text for token in tokens], tokens)
        if any(token.text in (b"temp", b"temporary") for token in tokens):
            effects.may_begin |= TEMPORARY_TABLE
        _scan_functions(effects, _without_comments(sql, tokens))
    return effects or None


def _without_comments(sql: bytes, tokens: list[Token]) -> bytes:
    """A statement with one space for each comment and white space."""
    parts: list[bytes] = []
    end = tokens[0].start
    for token in tokens:
        if token.start > end:
            parts.append(b" ")
        parts.append(sql[token.start : token.end])
        end = token.end
    return b"".join(parts)


_SET_CONFIG: Final = re.compile(rb"set_config\"?\s*(?:\(|/\*|--)")
_SET_CONFIG_LITERAL: Final = re.compile(rb"set_config\"?\s*\(\s*'+([\w.]+)'+\s*(?:::\s*\w+\s*)?,")
_UPDATE_SETTINGS: Final = re.compile(
    rb"\bupdate\s*(?:only\s*)?(?:\"?\w+\"?\s*\.\s*)?\"?pg_settings"
)
"""The view has a rule that turns UPDATE into set_config."""
_ADVISORY: Final = re.compile(rb"advisory_(?!xact|unlock_all)")
_SEQUENCE_READ: Final = re.compile(rb"\b(?:currval|lastval)\b")


def _scan_functions(effects: Effects, sql: bytes) -> None:
    """Look for functions with effects on the session, wherever they stand (even in DO blocks)."""
    low = sql.lower()
    if b"set_config" in low:
        names = _SET_CONFIG_LITERAL.findall(low)
        effects.settings.update(_text(name) for name in names)
        if len(names) < len(_SET_CONFIG.findall(low)):
            effects.permanent = "set_config"
    if b"pg_temp" in low:
        effects.may_begin |= TEMPORARY_TABLE
        if "search_path" in effects.settings:
            effects.permanent = "temporary_schema"
    if _UPDATE_SETTINGS.search(low):
        effects.permanent = "set_config"
    if b"advisory" in low:
        effects.may_end |= ADVISORY_LOCK
        if _ADVISORY.search(low):
            effects.may_begin |= ADVISORY_LOCK
    if _SEQUENCE_READ.search(low):
        effects.reads_sequences = True
    if b"set_limit" in low:
        effects.settings.add("pg_trgm.similarity_threshold")
    for word, reason in (
        (b"setseed", "random_seed"),
        (b"dblink_connect", "dblink_connection"),
        (b"origin_session", "replication_origin"),
        (b"al_replication_slot", "replication_slot"),
        (b'u&"', "unicode_name"),
    ):
        if word in low:
            effects.permanent = reason


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _setting_name(words: list[bytes], start: int) -> str:
    """Read a possibly dotted setting name; PostgreSQL compares them without regard to case."""
    name = words[start].strip(b'"').lower() if start < len(words) else b""
    while words[start + 1 : start + 2] == [b"."] and start + 2 < len(words):
        name += b"." + words[start + 2].strip(b'"').lower()
        start += 2
    return _text(name)


_SPECIAL_SETTINGS: Final[dict[bytes, str]] = {
    b"names": "client_encoding",
    b"schema": "search_path",
    b"role": "role",
    b"xml": "xmloption",
}
_CHARACTERISTICS: Final = (
    "default_transaction_isolation",
    "default_transaction_read_only",
    "default_transaction_deferrable",
)


def _set(effects: Effects, words: list[bytes], tokens: list[Token]) -> None:
    start = 1
    if words[1:2] == [b"local"]:
        return
    if words[1:3] == [b"session", b"characteristics"]:
        effects.settings.update(_CHARACTERISTICS)
        return
    if words[1:2] == [b"session"]:
        start = 2
    word = words[start] if start < len(words) else b""
    if word in (b"transaction", b"constraints"):
        return
    if word == b"authorization" or words[start : start + 2] == [b"session", b"authorization"]:
        effects.permanent = "session_authorization"
    elif word == b"seed":
        effects.permanent = "random_seed"
    elif words[start : start + 2] == [b"time", b"zone"]:
        effects.settings.add("timezone")
    elif word in _SPECIAL_SETTINGS and words[start + 1 : start + 2] not in ([b"="], [b"to"]):
        effects.settings.add(_SPECIAL_SETTINGS[word])
    else:
        _set_name(effects, words, start)


def _set_name(effects: Effects, words: list[bytes], start: int) -> None:
    name = _setting_name(words, start)
    effects.settings.add(name)
    if name == "standard_conforming_strings" or name == "session_authorization":
        effects.permanent = name
    if words[-1] == b"default" and len(words) <= start + 6:
        effects.resets.add(name)


def _reset(effects: Effects, words: list[bytes], tokens: list[Token]) -> None:
    if words[1:2] == [b"all"]:
        effects.reset_all = True
    elif words[1:3] == [b"time", b"zone"]:
        effects.resets.add("timezone")
    elif words[1:3] == [b"session", b"authorization"]:
        effects.permanent = "session_authorization"
    else:
        effects.resets.add(_setting_name(words, 1))
    effects.settings |= effects.resets


def _discard(effects: Effects, words: list[bytes], tokens: list[Token]) -> None:
    if words[1:2] == [b"all"]:
        effects.reset_all = True
        effects.may_end |= ALL_STATE
    elif words[1:2] in ([b"temp"], [b"temporary"]):
        effects.may_end |= TEMPORARY_TABLE


def _prepare(effects: Effects, words: list[bytes], tokens: list[Token]) -> None:
    if words[1:2] != [b"transaction"]:
        effects.may_begin |= PREPARED_STATEMENT
        _name_statement(effects, tokens, 1)


def _execute(effects: Effects, words: list[bytes], tokens: list[Token]) -> None:
    effects.executes = True
    _name_statement(effects, tokens, 1)


def _deallocate(effects: Effects, words: list[bytes], tokens: list[Token]) -> None:
    effects.may_end |= PREPARED_STATEMENT
    start = 2 if words[1:2] == [b"prepare"] and len(words) > 2 else 1
    if words[start : start + 1] != [b"all"]:
        _name_statement(effects, tokens, start)
        effects.deallocated += [identifier(token.text) for token in tokens[start : start + 1]]


def _name_statement(effects: Effects, tokens: list[Token], index: int) -> None:
    if index < len(tokens) and tokens[index].kind == "name":
        effects.statement_names.append((tokens[index].start, tokens[index].end))


def _explain(effects: Effects, words: list[bytes], tokens: list[Token]) -> None:
    """EXPLAIN EXECUTE name, and EXPLAIN ANALYZE CREATE TABLE AS EXECUTE name."""
    if b"execute" in words:
        effects.executes = True
        _name_statement(effects, tokens, words.index(b"execute") + 1)


def _create(effects: Effects, words: list[bytes], tokens: list[Token]) -> None:
    if b"as execute" in b" ".join(words):
        _explain(effects, words, tokens)
    if words[1:2] == [b"database"]:
        effects.databases.append(_template(tokens))
    _define(effects, words, tokens)


def _template(tokens: list[Token]) -> bytes:
    """The database that CREATE DATABASE copies."""
    for place, token in enumerate(tokens[3:-1], 3):
        if token.text == b"template":
            value = tokens[place + 1 + (tokens[place + 1].text == b"=") :][:1]
            if value and value[0].kind == "string":
                return value[0].text.strip(b"'").replace(b"''", b"'")
            if value and value[0].text != b"default":
                return identifier(value[0].text)
    return b"template1"


def _alter(effects: Effects, words: list[bytes], tokens: list[Token]) -> None:
    """ALTER DATABASE RENAME and SET TABLESPACE need the database to themselves."""
    if words[1:2] == [b"database"] and words[3:5] in ([b"rename", b"to"], [b"set", b"tablespace"]):
        effects.databases.append(identifier(tokens[2].text))
    _define(effects, words, tokens)


def _listen(effects: Effects, words: list[bytes], tokens: list[Token]) -> None:
    effects.may_begin |= LISTEN


def _unlisten(effects: Effects, words: list[bytes], tokens: list[Token]) -> None:
    effects.may_end |= LISTEN


def _load(effects: Effects, words: list[bytes], tokens: list[Token]) -> None:
    effects.permanent = "load"


def _declare(effects: Effects, words: list[bytes], tokens: list[Token]) -> None:
    if b"hold" in words and b"with" in words:
        effects.may_begin |= CURSOR_WITH_HOLD


def _close(effects: Effects, words: list[bytes], tokens: list[Token]) -> None:
    effects.may_end |= CURSOR_WITH_HOLD


def _drop(effects: Effects, words: list[bytes], tokens: list[Token]) -> None:
    effects.may_end |= TEMPORARY_TABLE
    if words[1:2] == [b"database"]:
        name = 4 if words[2:4] == [b"if", b"exists"] else 2
        effects.databases += [identifier(token.text) for token in tokens[name : name + 1]]
    _define(effects, words, tokens)


_SET_IN_BODY: Final = re.compile(rb"\bset\s+(?:session\s+)?([a-z_][\w.]*)\s*(?:=|\bto\b)")
_RESET_IN_BODY: Final = re.compile(rb"\breset\s+([a-z_][\w.]*)")
_SPECIAL_IN_BODY: Final = re.compile(
    rb"\b(?:re)?set\s+(?:session\s+)?(role|time|names|schema|xml|characteristics)\b"
)
_SPECIAL_IN_BODIES: Final[dict[bytes, tuple[str, ...]]] = {
    b"role": ("role",),
    b"time": ("timezone",),
    b"names": ("client_encoding",),
    b"schema": ("search_path",),
    b"xml": ("xmloption",),
    b"characteristics": _CHARACTERISTICS,
}
_UNKNOWN_IN_BODY: Final = re.compile(
    rb"\bset\s+(?:session\s+)?%|\b(?:re)?set\s+(?:session\s+)?(?:session\s+)?authorization\b"
    rb"|\breset\s+all\b"
)
"""Names that are put together at run time (``format('SET %I ...')``), and what nothing reports."""


def _do(effects: Effects, words: list[bytes], tokens: list[Token]) -> None:
    """A DO block can do anything; its body is searched for everything the rules above know."""
    _search_body(effects, b" ".join(token.text for token in tokens if token.kind == "string"))


def _search_body(effects: Effects, body: bytes) -> None:
    body = body.lower()
    effects.settings.update(_text(name) for name in _SET_IN_BODY.findall(body))
    effects.settings.update(_text(name) for name in _RESET_IN_BODY.findall(body))
    for word in _SPECIAL_IN_BODY.findall(body):
        effects.settings.update(_SPECIAL_IN_BODIES.get(word, ()))
    if _UNKNOWN_IN_BODY.search(body):
        effects.permanent = "dynamic_setting"
    for word, state in (
        (b"temp", TEMPORARY_TABLE),
        (b"hold", CURSOR_WITH_HOLD),
        (b"prepare", PREPARED_STATEMENT),
        (b"listen", LISTEN),
    ):
        if word in body:
            effects.may_begin |= state
    effects.may_end |= ALL_STATE
    if re.search(rb"\bload\s+'", body):
        effects.permanent = "load"


def body_effects(source: bytes) -> Effects:
    """What the body of a function may leave behind."""
    effects = Effects()
    _search_body(effects, source)
    _scan_functions(effects, source)
    return effects


_DEFINITIONS: Final = frozenset(
    {b"function", b"procedure", b"trigger", b"view", b"rule", b"extension", b"schema", b"language"}
)


def _define(effects: Effects, words: list[bytes], tokens: list[Token]) -> None:
    effects.redefines |= not _DEFINITIONS.isdisjoint(words[:6])


_RULES: Final = {
    b"set": _set,
    b"reset": _reset,
    b"discard": _discard,
    b"prepare": _prepare,
    b"execute": _execute,
    b"deallocate": _deallocate,
    b"explain": _explain,
    b"create": _create,
    b"alter": _alter,
    b"listen": _listen,
    b"unlisten": _unlisten,
    b"load": _load,
    b"declare": _declare,
    b"close": _close,
    b"drop": _drop,
    b"do": _do,
}
