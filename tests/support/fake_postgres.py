"""A PostgreSQL server session in memory: bytes in, bytes out, a dozen statements, no planner.

It follows the protocol where a pooler can go wrong: replies come in order and are held back until
Flush, Sync or an error; after an error everything up to Sync is discarded; COPY IN ignores Sync;
settings obey transactions; prepared statements are checked for a changed result.
"""

from __future__ import annotations

import re
import struct
from typing import Final

from tests.support.messages import message, text

REPORTED: Final = {
    "application_name": "application_name",
    "timezone": "TimeZone",
    "client_encoding": "client_encoding",
}
DEFAULTS: Final = {
    "application_name": "",
    "timezone": "UTC",
    "client_encoding": "UTF8",
    "work_mem": "4MB",
    "search_path": "public",
    "role": "none",
}
_LITERAL: Final = (
    r"(?:'(?:[^']|'')*'|E'(?:[^'\\]|''|\\.)*'|pg_catalog\.convert_from\(pg_catalog\.decode\("
    r"'[0-9a-f]*','hex'\),'\w+'\))"
)
_SET_CONFIG: Final = re.compile(rf"set_config\(({_LITERAL}), ?({_LITERAL}), ?(true|false)\)")
_STATEMENT: Final = re.compile(r"(?:[^;']|'(?:[^']|'')*')+")
_NAME: Final = r'("?[\w.$]+"?)'


class SqlError(Exception):
    """An error of the server: ``args`` are SQLSTATE and message."""


def literal(token: str) -> str:
    """Evaluate a literal as the proxy writes them."""
    if token.startswith("pg_catalog"):
        found = re.search(r"decode\('([0-9a-f]*)'", token)
        assert found is not None
        return bytes.fromhex(found[1]).decode("utf-8", "surrogateescape")
    if token.startswith("E"):
        return token[2:-1].replace("''", "'").replace("\\\\", "\\")
    return token[1:-1].replace("''", "'")


def error(code: str, words: str, severity: str = "ERROR") -> bytes:
    """ErrorResponse."""
    return message("E", text(f"S{severity}") + text(f"V{severity}") + text("C" + code)
                   + text("M" + words) + b"\0")  # fmt: skip


def data_row(*values: str | None) -> bytes:
    """Encode a DataRow of texts."""
    payload = struct.pack("!H", len(values))
    for value in values:
        raw = None if value is None else value.encode("utf-8", "surrogateescape")
        payload += struct.pack("!i", -1) if raw is None else struct.pack("!i", len(raw)) + raw
    return message("D", payload)


def row_description(names: tuple[str, ...]) -> bytes:
    """RowDescription of text columns."""
    payload = struct.pack("!H", len(names))
    for name in names:
        payload += text(name) + struct.pack("!IHIhiH", 0, 0, 25, -1, -1, 0)
    return message("T", payload)


def unquoted(name: str) -> str:
    """Fold an identifier to lower case, or take its quotes off."""
    return name[1:-1] if name.startswith('"') else name.lower()


class Database:
    """What all sessions share."""

    def __init__(self) -> None:
        self.columns: dict[str, tuple[str, ...]] = {"t": ("a", "b")}
        self.executed: list[str] = []


class Prepared:
    """A prepared statement, of the protocol or of SQL."""

    def __init__(self, sql: str, columns: tuple[str, ...] | None, *, from_sql: bool) -> None:
        self.sql = sql
        self.columns = columns
        self.from_sql = from_sql


class FakePostgres:
    """One session of the server."""

    def __init__(self, database: Database | None = None, **startup: str) -> None:
        self.database = database or Database()
        self.startup = {**DEFAULTS, **startup}
        self.settings = dict(self.startup)
        self.local: dict[str, str] = {}
        self.prepared: dict[str, Prepared] = {}
        self.portals: dict[str, Prepared] = {}
        self.temporary: set[str] = set()
        self.locks: list[str] = []
        self.listening: set[str] = set()
        self.used_sequence = False
        self.status = "I"
        self.saved: tuple[dict[str, str], set[str]] | None = None
        self.skipping = False
        self.copying = ""
        """Protocol (``simple`` or ``extended``) of a COPY IN that runs."""
        self.copied = 0
        self.sleeping = ""
        self.closed = False
        self.received: list[bytes] = []
        """Every message taken, with its code."""
        self._known = self.reported()
        self._input = b""
        self._output = b""
        self._flushed = b""

    # What the test does.

    def reported(self) -> dict[str, str]:
        """Parameter statuses as they are now."""
        now = {**self.settings, **self.local}
        return {name: now[key] for key, name in REPORTED.items()}

    def receive(self, data: bytes) -> bytes:
        """Take bytes from the client; return what is sent at once."""
        self._input += data
        while len(self._input) >= 5 and not self.sleeping and not self.closed:
            (length,) = struct.unpack_from("!I", self._input, 1)
            if len(self._input) < length + 1:
                break
            code, payload = chr(self._input[0]), self._input[5 : length + 1]
            self.received.append(self._input[: length + 1])
            self._input = self._input[length + 1 :]
            self._take(code, payload)
        sent, self._flushed = self._flushed, b""
        return sent

    def wake(self, *, cancelled: bool = False) -> bytes:
        """End a ``SELECT pg_sleep``: cancelled, or done."""
        protocol, self.sleeping = self.sleeping, ""
        if protocol and cancelled:
            self._fail(SqlError("57014", "canceling statement due to user request"), protocol)
        elif protocol:
            self._output += data_row("") + message("C", text("SELECT 1"))
            if protocol == "simple":
                self._ready()
        return self.receive(b"")

    def terminate(self) -> bytes:
        """Say that the server shuts down."""
        self.closed = True
        return error("57P01", "terminating connection due to administrator command", "FATAL")

    # Messages.

    def _flush(self) -> None:
        self._flushed += self._output
        self._output = b""

    def _ready(self) -> None:
        if self.status == "I" and self.saved is not None:
            self._end(commit=True)
        now = self.reported()
        for name, value in now.items():
            if self._known[name] != value:
                self._output += message("S", text(name) + text(value))
        self._known = now
        self._output += message("Z", self.status.encode())
        self._flush()

    def _fail(self, failure: SqlError, protocol: str) -> None:
        self.copying = ""
        self._output += error(*failure.args)
        self._flush()
        if self.status == "I":
            self._end(commit=False)
        else:
            self.status = "E"
        if protocol == "simple":
            self._ready()
        else:
            self.skipping = True

    def _take(self, code: str, payload: bytes) -> None:
        if code == "X":
            self.closed = True
        elif self.skipping and code != "S":
            return
        elif self.copying:
            self._copy(code, payload)
        elif code in "dcf":
            return
        elif code == "Q":
            self._simple(payload[:-1].decode("utf-8", "surrogateescape"))
        elif code == "S":
            self.skipping = False
            self._ready()
        elif code == "H":
            self._flush()
        elif code == "F":
            self._output += message("V", struct.pack("!i", -1))
            self._ready()
        else:
            try:
                self._begin()
                self._extended(code, payload)
            except SqlError as failure:
                self._fail(failure, "extended")

    def _copy(self, code: str, payload: bytes) -> None:
        protocol = self.copying
        if code == "d" and b"bad" in payload:
            self._fail(SqlError("22P04", "bad copy data"), protocol)
        elif code == "d":
            self.copied += payload.count(b"\n")
        elif code == "f":
            reason = payload[:-1].decode()
            self._fail(SqlError("57014", f"COPY from stdin failed: {reason}"), protocol)
        elif code == "c":
            self.copying = ""
            self._output += message("C", text(f"COPY {self.copied}"))
            if protocol == "simple":
                self._ready()
        elif code not in "HS":
            self._output += error("08P01", "unexpected message during COPY")
            self._output += error("08P01", "protocol synchronization was lost", "FATAL")
            self._flush()
            self.closed = True

    def _simple(self, sql: str) -> None:
        self.prepared.pop("", None)
        statements = [part.strip() for part in _STATEMENT.findall(sql) if part.strip()]
        try:
            self._begin()
            if not statements:
                self._output += message("I")
            for statement in statements:
                prepared = self._analyse(statement)
                if prepared.columns is not None:
                    self._output += row_description(prepared.columns)
                self._execute(statement, "simple")
                if self.copying or self.sleeping:
                    self._flush()
                    return
        except SqlError as failure:
            self._fail(failure, "simple")
        else:
            self._ready()

    def _extended(self, code: str, payload: bytes) -> None:
        if code == "P":
            name, _, rest = payload.partition(b"\0")
            sql = rest.partition(b"\0")[0].decode("utf-8", "surrogateescape")
            if not name:
                self.prepared.pop("", None)
            prepared = self._analyse(sql)
            if name and name.decode() in self.prepared:
                raise SqlError("42P05", f'prepared statement "{name.decode()}" already exists')
            self.prepared[name.decode()] = prepared
            self._output += message("1")
        elif code == "B":
            portal, name, _ = payload.split(b"\0", 2)
            self.portals[portal.decode()] = self._find(name.decode())
            self._output += message("2")
        elif code == "D":
            self._describe(chr(payload[0]), payload[1:-1].decode())
        elif code == "E":
            name = payload.partition(b"\0")[0]
            if name.decode() not in self.portals:
                raise SqlError("34000", f'portal "{name.decode()}" does not exist')
            sql = self.portals[name.decode()].sql
            if sql:
                self._execute(sql, "extended")
            else:
                self._output += message("I")
            if self.copying or self.sleeping:
                self._flush()
        elif code == "C":
            names = self.prepared if payload[:1] == b"S" else self.portals
            names.pop(payload[1:-1].decode(), None)
            self._output += message("3")
        else:
            raise AssertionError(f"message {code!r}")

    def _find(self, name: str) -> Prepared:
        if name not in self.prepared:
            raise SqlError(
                "26000",
                f'prepared statement "{name}" does not exist'
                if name
                else "unnamed prepared statement does not exist",
            )
        prepared = self.prepared[name]
        if self._analyse(prepared.sql).columns != prepared.columns:
            raise SqlError("0A000", "cached plan must not change result type")
        return prepared

    def _describe(self, kind: str, name: str) -> None:
        if kind == "S":
            prepared = self._find(name)
            self._output += message("t", b"\0\0")
        elif name in self.portals:
            prepared = self.portals[name]
        else:
            raise SqlError("34000", f'portal "{name}" does not exist')
        columns = prepared.columns
        self._output += message("n") if columns is None else row_description(columns)

    # Statements.

    def _begin(self) -> None:
        if self.saved is None:
            self.saved = (dict(self.settings), set(self.temporary))

    def _end(self, *, commit: bool) -> None:
        if self.saved is not None and not commit:
            self.settings, self.temporary = self.saved
        self.saved = None
        self.local = {}
        self.status = "I"
        self.portals = {}

    def _analyse(self, sql: str) -> Prepared:
        low = sql.lower()
        word = low.split(" ")[0].strip()
        if self.status == "E" and word not in ("rollback", "commit"):
            raise SqlError(
                "25P02",
                "current transaction is aborted, commands ignored until end of transaction block",
            )
        columns: tuple[str, ...] | None = None
        if word == "copy":
            pass
        elif table := re.search(r"from (\w+)$", low):
            if table[1] not in self.database.columns:
                raise SqlError("42P01", f'relation "{table[1]}" does not exist')
            columns = self.database.columns[table[1]]
        elif word == "show":
            columns = (low.split(" ")[1],)
        elif word == "select":
            columns = ("n",)
        elif word == "execute":
            columns = self._find(unquoted(sql.split(" ")[1])).columns
        elif word not in _COMMANDS and word:
            raise SqlError("42601", f'syntax error at or near "{word}"')
        return Prepared(sql, columns, from_sql=False)

    def _execute(self, sql: str, protocol: str) -> None:
        self.database.executed.append(sql)
        word = sql.split(" ")[0].lower()
        if not word:
            self._output += message("I")
        elif word == "select":
            self._select(sql, protocol)
        elif word == "copy":
            self._start_copy(sql, protocol)
        elif word == "execute":
            self._execute(self._find(unquoted(sql.split(" ")[1])).sql, protocol)
        else:
            tag = _COMMANDS[word](self, sql)
            self._output += message("C", text(tag))

    def _start_copy(self, sql: str, protocol: str) -> None:
        if sql.lower().endswith("stdout"):
            self._output += message("H", b"\0\0\0") + message("d", b"1\n") + message("d", b"2\n")
            self._output += message("c") + message("C", text("COPY 2"))
            return
        self._output += message("G", b"\0\0\0")
        self.copying = protocol
        self.copied = 0

    def _select(self, sql: str, protocol: str) -> None:
        low = sql.lower()
        rows: list[tuple[str | None, ...]] = [("1",)]
        if re.match(r"select '(?:temporary_table|advisory|cursor|prepared|listen|setting)", low):
            rows = self._facts(sql)
        elif "pg_sleep" in low:
            self.sleeping = protocol
            return
        elif "fail" in low:
            self._output += data_row("0")
            raise SqlError("22012", "division by zero")
        elif "notice" in low:
            self._output += message("N", text("SNOTICE") + text("C00000") + text("Mhear") + b"\0")
        elif "set_config" in low:
            rows = [tuple(self._set_config(found) for found in _SET_CONFIG.findall(sql))]
        elif "pg_advisory_lock" in low:
            self.locks.append(low)
        elif "pg_advisory_unlock_all" in low:
            self.locks.clear()
        elif found := re.match(r"select repeat\('(.)', ?(\d+)\)", low):
            rows = [(found[1] * int(found[2]),)]
        elif "nextval" in low:
            self.used_sequence = True
        elif "currval" in low and not self.used_sequence:
            raise SqlError("55000", "currval is not yet defined in this session")
        elif found := re.match(r"select (\d+)", low):
            rows = [(found[1],)]
        self._output += b"".join(data_row(*row) for row in rows)
        self._output += message("C", text(f"SELECT {len(rows)}"))

    def _facts(self, sql: str) -> list[tuple[str | None, ...]]:
        rows: list[tuple[str | None, ...]] = []
        holds = {
            "temporary_table": bool(self.temporary),
            "advisory_lock": bool(self.locks),
            "prepared_statement": any(p.from_sql for p in self.prepared.values()),
            "listen": bool(self.listening),
        }
        for part in sql.split(" UNION ALL "):
            kind = literal(part.split(" ", 1)[1].split(",")[0])
            if kind == "setting":
                names = re.findall(_LITERAL, part)
                name = literal(names[1])
                rows.append((kind, name, {**self.settings, **self.local}.get(name)))
            elif holds.get(kind):
                rows.append((kind, None, None))
        return rows

    def _set_config(self, found: tuple[str, str, str]) -> str:
        name, value = literal(found[0]).lower(), literal(found[1])
        if value == "invalid":
            raise SqlError("22023", f'invalid value for parameter "{name}": "{value}"')
        (self.local if found[2] == "true" else self.settings)[name] = value
        return value

    def _set(self, sql: str) -> str:
        found = re.match(rf"set (local )?(?:session )?{_NAME} (?:=|to) (.+)", sql, re.IGNORECASE)
        if found is None:
            raise SqlError("42601", "syntax error in SET")
        name, value = unquoted(found[2]).lower(), found[3].strip("'")
        if value == "invalid":
            raise SqlError("22023", f'invalid value for parameter "{name}": "{value}"')
        if found[1]:
            if self.status == "T":
                self.local[name] = value
        elif value.lower() == "default":
            self._reset(f"reset {name}")
        else:
            self.settings[name] = value
        return "SET"

    def _reset(self, sql: str) -> str:
        names = [unquoted(part).lower() for part in sql.split(" ")[1].split(".")]
        name = ".".join(part.strip('"') for part in names)
        if name == "all":
            self.settings = dict(self.startup)
        elif name in self.startup:
            self.settings[name] = self.startup[name]
        elif name in self.settings:
            self.settings[name] = ""
        return "RESET"

    def _show(self, sql: str) -> str:
        name = unquoted(sql.split(" ")[1])
        value = {**self.settings, **self.local}.get(name)
        if value is None and "." in name:
            value = ""  # PostgreSQL knows by and by every name that was ever set and reset.
        if value is None:
            raise SqlError("42704", f'unrecognized configuration parameter "{name}"')
        self._output += data_row(value)
        return "SHOW"

    def _begin_block(self, sql: str) -> str:
        self.status = "T"
        return "BEGIN"

    def _commit(self, sql: str) -> str:
        failed = self.status == "E"
        self._end(commit=not failed)
        return "ROLLBACK" if failed else "COMMIT"

    def _rollback(self, sql: str) -> str:
        self._end(commit=False)
        return "ROLLBACK"

    def _discard(self, sql: str) -> str:
        if sql.lower() == "discard sequences":
            self.used_sequence = False
            return "DISCARD SEQUENCES"
        if self.status != "I":
            raise SqlError("25001", "DISCARD ALL cannot run inside a transaction block")
        self.settings = dict(self.startup)
        self._drop_prepared()
        self.temporary.clear()
        self.locks.clear()
        self.listening.clear()
        self.used_sequence = False
        return "DISCARD ALL"

    def _drop_prepared(self) -> None:
        self.prepared = {name: made for name, made in self.prepared.items() if not name}

    def _deallocate(self, sql: str) -> str:
        name = unquoted(sql.split(" ")[1])
        if name == "all":
            self._drop_prepared()
            return "DEALLOCATE ALL"
        if self.prepared.pop(name, None) is None:
            raise SqlError("26000", f'prepared statement "{name}" does not exist')
        return "DEALLOCATE"

    def _prepare(self, sql: str) -> str:
        _, name, _, statement = sql.split(" ", 3)
        name = unquoted(name)
        if name in self.prepared:
            raise SqlError("42P05", f'prepared statement "{name}" already exists')
        self.prepared[name] = Prepared(statement, self._analyse(statement).columns, from_sql=True)
        return "PREPARE"

    def _create(self, sql: str) -> str:
        self.temporary.add(sql.split(" ")[-1])
        return "CREATE TABLE"

    def _drop(self, sql: str) -> str:
        self.temporary.discard(sql.split(" ")[-1])
        return "DROP TABLE"

    def _listen(self, sql: str) -> str:
        self.listening.add(sql.split(" ")[1])
        return "LISTEN"

    def _unlisten(self, sql: str) -> str:
        self.listening.clear()
        return "UNLISTEN"

    def _delete(self, sql: str) -> str:
        return "DELETE 1"


_COMMANDS: Final = {
    "set": FakePostgres._set,
    "reset": FakePostgres._reset,
    "show": FakePostgres._show,
    "begin": FakePostgres._begin_block,
    "commit": FakePostgres._commit,
    "rollback": FakePostgres._rollback,
    "discard": FakePostgres._discard,
    "deallocate": FakePostgres._deallocate,
    "prepare": FakePostgres._prepare,
    "create": FakePostgres._create,
    "drop": FakePostgres._drop,
    "listen": FakePostgres._listen,
    "unlisten": FakePostgres._unlisten,
    "delete": FakePostgres._delete,
    "copy": FakePostgres._delete,
}
