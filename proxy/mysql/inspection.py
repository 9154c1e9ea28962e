"""Reads the SQL of a client only to know when session state may begin, end or be asked for.

The ordinary statement is told by a search for suspicious words alone. Of the others, the tokens
decide. Where the tokens cannot be trusted, every kind of state whose words occur anywhere may
begin: in texts that are too long, in MariaDB's compound statements, where ``sql_mode`` may change
between two statements, and where a byte of a multi-byte character could be taken for a quote.
"""

from __future__ import annotations

import re
from typing import Final

from proxy.mysql import effects
from proxy.mysql.effects import Effects, Kill
from proxy.mysql.suspicion import is_suspicious
from proxy.mysql.text_so_far import TextSoFar
from proxy.mysql.tokens import Token, statements

LONGEST_TEXT: Final = 1 << 16
"""Bytes of a text that are taken apart."""
_MOST_VERDICTS: Final = 2048
_LONGEST_KEY: Final = 512

_COMPOUND: Final = frozenset(
    {b"if", b"case", b"loop", b"while", b"repeat", b"for", b"declare", b"signal", b"resignal"}
)
_WORDS: Final[dict[bytes, int]] = {
    b"@": effects.USER_VARIABLE,
    b"temporary": effects.TEMPORARY_TABLE,
    b"get_lock": effects.NAMED_LOCK,
    b"lock": effects.LOCK_TABLES | effects.BACKUP_LOCK,
    b"prepare": effects.SQL_PREPARED_STATEMENT,
    b"handler": effects.HANDLER,
    b"xa": effects.XA_TRANSACTION,
    b"flush": effects.GLOBAL_READ_LOCK,
    b"backup": effects.BACKUP_LOCK,
    b"transaction": effects.TRANSACTION_CHARACTERISTICS,
    b"call": effects.STORED_PROGRAM,
    b"execute": effects.STORED_PROGRAM,
    b"immediate": effects.UNREADABLE_CODE,
    b"statement": effects.SET_STATEMENT,
    b"role": effects.ROLE,
    b"resource": effects.RESOURCE_GROUP,
    b"next": effects.SEQUENCE,
}
_DEFINING: Final = (b"create", b"drop", b"alter", b"rename")
_PROGRAMS: Final = frozenset({b"function", b"procedure", b"trigger", b"view", b"package"})
_LONGEST_HEAD: Final = 24
"""Words within which CREATE says what it creates: DEFINER and ALGORITHM come first."""
_SYSTEM_SCHEMAS: Final = frozenset({b"mysql", b"sys"})
"""What stands there is not read (``hidden.py``)."""
_STRING: Final = re.compile(rb"'(?:[^'\\]|\\.|'')*+'|\"(?:[^\"\\]|\\.|\"\")*+\"", re.DOTALL)
_WIDE: Final = re.compile(rb"[\x80-\xff][@\\`'\"]")
_verdicts: Final[dict[bytes, Effects | None]] = {}


def inspect(
    sql: bytes, no_backslash_escapes: bool = False, multibyte: bool = False
) -> Effects | None:
    """Say what a text may do to the session; ``None`` for the ordinary statement.

    ``no_backslash_escapes`` is the server's status flag of that name, ``multibyte`` whether
    ``character_set_client`` has characters whose later bytes are ASCII (big5, cp932, gb18030, gbk,
    sjis). What is returned is shared: never change it.
    """
    if not is_suspicious(sql):
        return None
    return look_closely(sql, no_backslash_escapes, multibyte)


def look_closely(sql: bytes, no_backslash_escapes: bool, multibyte: bool) -> Effects | None:
    """Say what a text may do that ``is_suspicious``; otherwise as ``inspect``."""
    if no_backslash_escapes or multibyte or len(sql) > _LONGEST_KEY:
        return _examine(sql, no_backslash_escapes, multibyte)
    if sql in _verdicts:
        return _verdicts[sql]
    verdict = _examine(sql, False, False)
    if len(_verdicts) >= _MOST_VERDICTS:
        _verdicts.clear()
    _verdicts[sql] = verdict
    return verdict


def _examine(sql: bytes, no_backslash_escapes: bool, multibyte: bool) -> Effects | None:
    found = Effects()
    if len(sql) > LONGEST_TEXT or (multibyte and _WIDE.search(sql) is not None):
        _suspect_all(sql, found, strip=not multibyte and not no_backslash_escapes)
        return found if _says_something(found) else None
    parts = statements(sql, no_backslash_escapes=no_backslash_escapes)
    if len(parts) > 1 and b"sql_mode" in sql.lower():
        _suspect_all(sql, found, strip=False)
        return found
    so_far = TextSoFar(conditional=b"/*!" in sql or b"/*M!" in sql)
    for tokens in parts:
        so_far.before(found)
        if _is_compound(tokens):
            _suspect_all(sql, found, strip=False)
        _read_statement(tokens, found)
        so_far.after(tokens, found)
    if len(parts) == 1 and b"/*!" not in sql and b"/*M!" not in sql:
        _read_whole(parts[0], found)
    return found if _says_something(found) else None


def _says_something(found: Effects) -> bool:
    return bool(
        found.may_begin
        or found.may_end
        or found.permanent
        or found.redefines
        or found.reads_last_insert_id
        or found.reads_diagnostics
        or found.shows
        or found.calc_found_rows
        or found.kill is not None
        or found.connection_ids
        or found.outcome_calls
        or found.user_variables
    )


def _suspect_all(sql: bytes, found: Effects, *, strip: bool) -> None:
    """Let every kind of state begin whose words occur; unambiguous strings may be left out."""
    text = (_STRING.sub(b"''", sql) if strip else sql).lower()
    for word, kinds in _WORDS.items():
        if word in text:
            found.may_begin |= kinds
    found.writes_user_variables = found.writes_user_variables or b"@" in text
    found.lock_names = None
    found.reads_last_insert_id |= b"last_insert_id" in text or b"identity" in text
    found.reads_diagnostics |= any(
        word in text
        for word in (b"row_count", b"found_rows", b"diagnostics", b"warning_count", b"error_count")
    ) or (b"show" in text and (b"warnings" in text or b"errors" in text))
    found.calc_found_rows |= b"sql_calc_found_rows" in text
    if b"binlog" in text:
        found.permanent = "binlog"
    defines = any(head in text for head in _DEFINING)
    found.redefines = defines and any(word in text for word in _PROGRAMS)


def _is_compound(tokens: list[Token]) -> bool:
    """Whether this may be a MariaDB compound statement, or a statement inside another."""
    words = [token.word for token in tokens[:2]]
    return (
        words[0] in _COMPOUND
        or words == [b"begin", b"not"]
        or words == [b"set", b"statement"]
        or (len(tokens) > 1 and tokens[1].text == b":")
    )


def _read_statement(tokens: list[Token], found: Effects) -> None:
    words = [token.word for token in tokens]
    _read_head(tokens, words, found)
    _read_functions(tokens, words, found)
    _read_variables(tokens, words, found)


def _read_head(tokens: list[Token], words: list[bytes], found: Effects) -> None:
    head = words[0]
    second = words[1] if len(words) > 1 else b""
    if head == b"set":
        _read_set(words, second, found)
    elif head in _DEFINING:
        _read_definition(tokens, words, head, found)
    elif head in (b"lock", b"unlock", b"backup", b"flush"):
        _read_lock(words, head, second, found)
    elif head == b"prepare":
        found.may_begin |= effects.SQL_PREPARED_STATEMENT
    elif head == b"deallocate":
        found.may_end |= effects.SQL_PREPARED_STATEMENT
    elif head in (b"execute", b"call"):
        found.may_begin |= effects.STORED_PROGRAM
        if second == b"immediate" or second in _SYSTEM_SCHEMAS:
            found.may_begin |= effects.UNREADABLE_CODE
        found.reads_last_insert_id = True
    elif head == b"handler":
        _begin_or_end(effects.HANDLER, b"open" in words, b"close" in words, found)
    elif head == b"xa":
        ends = second in (b"prepare", b"commit", b"rollback")
        _begin_or_end(effects.XA_TRANSACTION, second in (b"start", b"begin"), ends, found)
    elif head == b"binlog":
        found.permanent = "binlog"
    elif head == b"get" or (head == b"show" and (b"warnings" in words or b"errors" in words)):
        found.reads_diagnostics = True
    elif head == b"kill":
        # A number is only read where nothing else stands in the text.
        found.kill = Kill(query_only=False, number=None)


def _begin_or_end(kind: int, begins: bool, ends: bool, found: Effects) -> None:
    if begins:
        found.may_begin |= kind
    if ends:
        found.may_end |= kind


def _read_set(words: list[bytes], second: bytes, found: Effects) -> None:
    if second == b"transaction":
        found.may_begin |= effects.TRANSACTION_CHARACTERISTICS
    elif second == b"statement":
        found.may_begin |= effects.SET_STATEMENT
    elif second == b"role":
        found.may_begin |= effects.ROLE
    elif second == b"resource" and b"group" in words:
        found.may_begin |= effects.RESOURCE_GROUP


def _read_definition(tokens: list[Token], words: list[bytes], head: bytes, found: Effects) -> None:
    second = words[1] if len(words) > 1 else b""
    if head == b"drop":
        if second == b"prepare":
            found.may_end |= effects.SQL_PREPARED_STATEMENT
        if second in (b"temporary", b"table", b"tables"):
            found.may_end |= effects.TEMPORARY_TABLE
    elif b"temporary" in words:
        found.may_begin |= effects.TEMPORARY_TABLE
    if head == b"rename" or (head == b"alter" and b"rename" in words):
        found.redefines = True  # Triggers go with their table.
    elif b"temporary" not in words[:4]:
        found.redefines |= not _PROGRAMS.isdisjoint(words[1:_LONGEST_HEAD])
    if b"table" in words[:5] and (head == b"drop" or b"temporary" in words[:4]):
        found.temporary_tables |= _tables(tokens, words, head)


def _tables(tokens: list[Token], words: list[bytes], head: bytes) -> frozenset[bytes]:
    """Names of the tables that CREATE TABLE or DROP TABLE is about, but for qualified ones."""
    start = words.index(b"table") + 1
    while words[start : start + 1] and words[start] in (b"if", b"not", b"exists"):
        start += 1
    names = set()
    for index in range(start, len(words) if head == b"drop" else min(start + 1, len(words))):
        around = [tokens[i].text for i in (index - 1, index + 1) if i < len(tokens)]
        if words[index] and b"." not in around:
            names.add(words[index])
    return frozenset(names - {b"restrict", b"cascade"})


def _read_lock(words: list[bytes], head: bytes, second: bytes, found: Effects) -> None:
    if head == b"unlock":
        found.may_end |= effects.LOCK_TABLES | effects.GLOBAL_READ_LOCK | effects.BACKUP_LOCK
    elif head == b"backup":
        found.may_begin |= effects.BACKUP_LOCK
        found.may_end |= effects.BACKUP_LOCK if second in (b"unlock", b"stage") else 0
    elif head == b"lock":
        found.may_begin |= effects.BACKUP_LOCK if second == b"instance" else effects.LOCK_TABLES
    elif b"with" in words or b"export" in words:
        found.may_begin |= effects.GLOBAL_READ_LOCK


def _read_functions(tokens: list[Token], words: list[bytes], found: Effects) -> None:
    for index, word in enumerate(words):
        if word == b"get_lock":
            found.may_begin |= effects.NAMED_LOCK
            _read_lock_name(tokens[index + 1 : index + 4], found)
        elif word in (b"release_lock", b"release_all_locks"):
            found.may_end |= effects.NAMED_LOCK
        elif word in (b"last_insert_id", b"identity"):
            found.reads_last_insert_id = True
        elif word in (b"row_count", b"found_rows"):
            call = _read_call(tokens, words, index)
            if call is not None:
                found.outcome_calls.append((*call, word))
        elif word == b"diagnostics" and words[index - 1] in (b"get", b"current", b"stacked"):
            found.reads_diagnostics = True
        elif word == b"sql_calc_found_rows":
            found.calc_found_rows = True
        elif word == b"nextval" or (word == b"next" and words[index + 1 : index + 2] == [b"value"]):
            found.may_begin |= effects.SEQUENCE
        elif word == b"connection_id" and b"is_used_lock" not in words:
            # The server's own number is what IS_USED_LOCK() tells: it must be compared with that.
            call = _read_call(tokens, words, index)
            if call is not None:
                found.connection_ids.append(call)


def _read_lock_name(following: list[Token], found: Effects) -> None:
    literal = (
        len(following) == 3
        and following[0].text == b"("
        and following[1].kind == "string"
        and following[2].text == b","
    )
    if not literal or found.lock_names is None:
        found.lock_names = None
    else:
        found.lock_names |= {following[1].text}


_BEHIND_COLUMN: Final = frozenset(
    {b"", b",", b"from", b"limit", b"where", b"into", b"union", b"order", b"group", b"having"}
)


def _read_call(tokens: list[Token], words: list[bytes], index: int) -> tuple[int, int, bool] | None:
    """Start and end of a call without arguments, and whether it names a column of the result."""
    if [token.text for token in tokens[index + 1 : index + 3]] != [b"(", b")"]:
        return None
    names = _is_column(tokens, words, index, index + 3)
    return tokens[index].start, tokens[index + 2].end, names


def _is_column(tokens: list[Token], words: list[bytes], index: int, end: int) -> bool:
    """Whether the tokens from ``index`` to ``end`` are a whole column of a SELECT."""
    before = tokens[index - 1].text if index else b""
    after = tokens[end].text if end < len(tokens) else b""
    depth = sum((t.text == b"(") - (t.text == b")") for t in tokens[:index])
    begins = before in (b"select", b",", b"distinct", b"all")
    return words[0] == b"select" and depth == 0 and begins and after in _BEHIND_COLUMN


_ACCOUNT_HEADS: Final = frozenset({b"grant", b"revoke", b"rename", b"show"})
_ACCOUNT_OBJECTS: Final = frozenset({b"user", b"role", b"definer", b"default", b"password"})


def _read_variables(tokens: list[Token], words: list[bytes], found: Effects) -> None:
    names = set()
    into = False
    accounts = words[0] in _ACCOUNT_HEADS or not _ACCOUNT_OBJECTS.isdisjoint(words[1:4])
    for index, token in enumerate(tokens):
        into = into or token.text == b":="
        if token.kind != "variable":
            continue
        into = into or (index > 0 and words[index - 1] == b"into")
        if token.text.startswith(b"@@"):
            _read_system_variable(tokens, words, index, found)
            continue
        before = tokens[index - 1] if index else token
        if accounts and index > 1 and before.end == token.start and before.kind != "other":
            continue
        names.add(token.text[1:].strip(b"`'\"").lower())
    if not names:
        return
    found.user_variables |= names
    if into or words[0] in (b"set", b"call", b"load", b"get", b"execute", b"fetch"):
        found.writes_user_variables = True
        found.may_begin |= effects.USER_VARIABLE


def _read_system_variable(
    tokens: list[Token], words: list[bytes], index: int, found: Effects
) -> None:
    token = tokens[index]
    name = token.text.lower().replace(b"`", b"").rpartition(b".")[2].lstrip(b"@")
    if name in (b"last_insert_id", b"identity"):
        found.reads_last_insert_id = True
    elif name in (b"warning_count", b"error_count"):
        names = _is_column(tokens, words, index, index + 1)
        found.outcome_calls.append((token.start, token.end, names, name))
    elif name in (b"", b"session", b"local", b"global"):
        # White space or a comment within the name.
        found.reads_last_insert_id = True
        found.reads_diagnostics = True


def _read_whole(tokens: list[Token], found: Effects) -> None:
    """Read what only counts if it is the only statement: KILL and SHOW WARNINGS."""
    texts = [token.text for token in tokens]
    if texts[0] == b"kill":
        rest = [text for text in texts[1:] if text not in (b"hard", b"soft", b"connection")]
        query_only = rest[:1] == [b"query"]
        rest = rest[1:] if query_only else rest
        number = int(rest[0]) if len(rest) == 1 and rest[0].isdigit() else None
        found.kill = Kill(query_only=query_only, number=number)
    elif texts[0] == b"show" and len(texts) > 1:
        _read_show(texts[1:], found)


def _read_show(texts: list[bytes], found: Effects) -> None:
    counts = texts[:4] == [b"count", b"(", b"*", b")"]
    texts = texts[4:] if counts else texts
    if not texts or texts[0] not in (b"warnings", b"errors"):
        return
    errors = texts[0] == b"errors"
    if counts:
        shows = effects.SHOWS_ERROR_COUNT if errors else effects.SHOWS_WARNING_COUNT
        if len(texts) == 1:
            found.shows = shows
        return
    limit = texts[1:]
    if limit:
        numbers = limit[1:]
        if limit[0] != b"limit" or not all(n.isdigit() for n in numbers[::2]):
            return
        if len(numbers) == 1:
            found.show_limit = (0, int(numbers[0]))
        elif len(numbers) == 3 and numbers[1] == b",":
            found.show_limit = (int(numbers[0]), int(numbers[2]))
        elif len(numbers) == 3 and numbers[1] == b"offset":
            found.show_limit = (int(numbers[2]), int(numbers[0]))
        else:
            return
    found.shows = effects.SHOWS_ERRORS if errors else effects.SHOWS_WARNINGS
