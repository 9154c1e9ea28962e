"""The log: one line per lifecycle event on standard error, as text or JSON.

    2026-01-01T00:00:00.000Z INFO event=client_connected proxy=orders user=app
    {"time": "2026-01-01T00:00:00.000Z", "level": "INFO", "event": "client_connected", ...}

Code calls ``event(logger, logging.INFO, "client_connected", proxy=..., user=...)``, or passes
``extra={"fields": {...}}`` to a logger, which is the same. What clients chose (user names, database
names, parameters) goes into fields, never into the event's name; a field cannot end the line, forge
another field or reach the operator's terminal as control characters, and is cut at
``MAX_VALUE_CHARACTERS``.

The event loop only appends to a bounded queue. A thread writes, so that a slow terminal or a full
pipe holds up no client; when the queue is full, lines are dropped, counted and later reported as
``event=log_records_dropped``.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import json
import logging
import os
import queue
import select
import threading
import time
from datetime import UTC, datetime
from enum import Enum
from logging.handlers import QueueHandler
from math import isfinite
from typing import TYPE_CHECKING, Final

from proxy.credentials.base import Credential
from proxy.errors import ProxyError

if TYPE_CHECKING:
    from collections.abc import Iterator

QUEUE_RECORDS: Final = 10_000
"""Lines that may wait for standard error."""

MAX_VALUE_CHARACTERS: Final = 1024
MAX_TRACEBACK_CHARACTERS: Final = 16_384
CLOSE_TIMEOUT_S: Final = 2.0
"""Longest wait, at exit, for standard error to take the rest."""

STANDARD_ERROR: Final = 2
REDACTED: Final = "[redacted]"
SECRET_FIELDS: Final = frozenset(
    {"credential", "password", "secret", "token", "verifier", "cancel_key", "tls_key"}
)
"""Fields never written, whatever they hold."""

OWN_LOGGERS: Final = ("proxy", "tidegate")

_OWN_KEYS: Final = frozenset({"time", "level", "event"})

Value = str | int | float | bool | None
Records = queue.Queue[logging.LogRecord | None]
"""Records on their way to the thread; ``None`` ends it."""


def _bounded(text: str, limit: int = MAX_VALUE_CHARACTERS) -> str:
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"


def _plain(name: str, value: object) -> Value:
    """Reduce a field to something immutable, bounded and without secrets."""
    if name in SECRET_FIELDS or isinstance(value, Credential):
        return REDACTED
    if isinstance(value, Enum):
        value = value.value
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if isfinite(value) else str(value)  # JSON knows no NaN.
    if isinstance(value, ProxyError):
        value = f"{value} ({value.detail})" if value.detail else str(value)
    elif isinstance(value, BaseException):
        value = f"{type(value).__name__}: {value}"
    try:
        return _bounded(str(value))
    except Exception as error:  # A broken __str__ must not cost a client its connection.
        return f"{type(value).__name__} ({type(error).__name__} while formatting)"


def event(
    logger: logging.Logger,
    level: int,
    name: str,
    /,
    *,
    exc_info: BaseException | None = None,
    **fields: object,
) -> None:
    """Log one event. ``name`` is a word of ours; ``exc_info`` adds the exception's traceback.

    A ``ProxyError`` passed as a field is written with its ``detail``; a ``Credential`` never is.
    """
    if not logger.isEnabledFor(level):
        return
    trace = (type(exc_info), exc_info, exc_info.__traceback__) if exc_info else None
    extra = {"fields": fields}
    logger.handle(logger.makeRecord(logger.name, level, "", 0, name, (), trace, extra=extra))


class EventFormatter(logging.Formatter):
    """Shared by both formats: the fields of a record, whoever logged it."""

    def facts(self, record: logging.LogRecord) -> dict[str, Value]:
        """Give the line's fields in order."""
        moment = datetime.fromtimestamp(record.created, UTC)
        stamp = f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"
        facts: dict[str, Value] = {"time": stamp, "level": record.levelname}
        fields: dict[str, Value] | None = getattr(record, "fields", None)
        message = _message(record)
        whose: dict[str, Value] = {"worker": _worker} if _worker else {}
        if fields is not None or (record.name in OWN_LOGGERS and message.isidentifier()):
            facts |= {"event": message, **whose, **(fields or {})}
        else:
            facts |= {"event": "log", **whose, "logger": record.name, "message": message}
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        if record.exc_text:
            facts["traceback"] = _bounded(record.exc_text, MAX_TRACEBACK_CHARACTERS)
        return facts


def _message(record: logging.LogRecord) -> str:
    try:
        return _bounded(record.getMessage(), MAX_TRACEBACK_CHARACTERS)
    except Exception as error:  # A library's broken log call must not cost the line.
        return f"{record.msg!r} ({type(error).__name__} while formatting)"


class TextFormatter(EventFormatter):
    """``TIME LEVEL event=... key=value``; values that are not plain words are quoted."""

    def format(self, record: logging.LogRecord) -> str:
        """Give one line without its end."""
        facts = self.facts(record)
        head = f"{facts.pop('time')} {facts.pop('level')}"
        return " ".join([head, *(f"{key}={_word(value)}" for key, value in facts.items())])


def _word(value: Value) -> str:
    if not isinstance(value, str):
        return json.dumps(value)
    if value and value.isprintable() and not any(c in value for c in " \"'=\\"):
        return value
    # isprintable() is false for controls, line ends, bidirectional overrides and lone surrogates.
    return "".join(['"', *(_escaped(character) for character in value), '"'])


def _escaped(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    return character if character.isprintable() else json.dumps(character)[1:-1]


class JsonFormatter(EventFormatter):
    """One JSON object per line, in ASCII."""

    def format(self, record: logging.LogRecord) -> str:
        """Give one line without its end."""
        return json.dumps(self.facts(record))


class DroppingHandler(QueueHandler):
    """Appends to the queue, or counts what does not fit."""

    def __init__(self, records: Records) -> None:
        super().__init__(records)
        self._records = records
        self.dropped = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """Freeze what may change before the thread gets to it; leave secrets behind."""
        fields: dict[str, object] | None = getattr(record, "fields", None)
        if fields is not None:
            names = {f"{name}_" if name in _OWN_KEYS else name: name for name in fields}
            record.fields = {key: _plain(name, fields[name]) for key, name in names.items()}
        record.msg, record.args = _message(record), ()
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        """Append without ever waiting."""
        try:
            self._records.put_nowait(record)
        except queue.Full:
            self.dropped += 1


class _Writer:
    """The thread that formats records and writes them to a file descriptor.

    Neither ``sys.stderr`` nor a ``logging.Handler`` would do: their locks, held by a thread that
    standard error blocks, would hang or abort the interpreter's exit.
    """

    def __init__(self, descriptor: int, inbox: DroppingHandler, records: Records) -> None:
        self.formatter: EventFormatter = TextFormatter()
        self._descriptor = descriptor
        self._inbox = inbox
        self._records = records
        self._reported = 0
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write what is queued and stop; gives up after ``CLOSE_TIMEOUT_S``."""
        deadline = time.monotonic() + CLOSE_TIMEOUT_S
        try:
            self._records.put(None, timeout=CLOSE_TIMEOUT_S)
        except queue.Full:
            return
        self._thread.join(max(0.0, deadline - time.monotonic()))

    def _run(self) -> None:
        while (record := self._records.get()) is not None:
            self._report_dropped()
            self._write(record)
        self._report_dropped()

    def _report_dropped(self) -> None:
        lost = self._inbox.dropped - self._reported
        if lost:
            self._reported += lost
            record = logging.LogRecord(__name__, logging.WARNING, "", 0, "", (), None)
            record.msg = "log_records_dropped"
            record.fields = {"count": lost}
            self._write(record)

    def _write(self, record: logging.LogRecord) -> None:
        try:
            line = self.formatter.format(record).encode("utf-8", "backslashreplace") + b"\n"
        except Exception as error:  # One bad record must not end the log.
            line = f"event=log_record_failed error={type(error).__name__}\n".encode()
        with _one_line_at_a_time():
            self._put(line)

    def _put(self, line: bytes) -> None:
        while line:
            try:
                line = line[os.write(self._descriptor, line) :]
            except BlockingIOError:  # Whoever shares the terminal may have made it non-blocking.
                select.select([], [self._descriptor], [], 1.0)
            except OSError:
                return  # Nobody reads any more, and there is nowhere to say so.


@contextlib.contextmanager
def _one_line_at_a_time() -> Iterator[None]:
    """Keep the processes that share standard error from writing into each other's lines: a pipe
    takes only short ones whole. The lock of a process that dies is released by the system."""
    if _lock < 0:
        yield
        return
    fcntl.lockf(_lock, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.lockf(_lock, fcntl.LOCK_UN)


class Log:
    """The process's log."""

    def __init__(self, descriptor: int, capacity: int) -> None:
        records: Records = queue.Queue(capacity)
        self._inbox = DroppingHandler(records)
        self._writer = _Writer(descriptor, self._inbox, records)
        self._open = True
        logging.getLogger().addHandler(self._inbox)
        atexit.register(self.close)

    @property
    def dropped(self) -> int:
        """Lines lost so far to a slow standard error."""
        return self._inbox.dropped

    @property
    def is_open(self) -> bool:
        """Whether records are still taken."""
        return self._open

    def set_format(self, format: str) -> None:
        """Write ``text`` or ``json`` from now on."""
        self._writer.formatter = JsonFormatter() if format == "json" else TextFormatter()

    def close(self) -> None:
        """Write what is queued, for ``CLOSE_TIMEOUT_S`` at most, and stop. Idempotent."""
        if self._open:
            self._open = False
            atexit.unregister(self.close)
            logging.getLogger().removeHandler(self._inbox)
            self._writer.stop()


_current: Log | None = None
_worker = ""
_lock = -1


def share(worker: str, lock: int) -> None:
    """Say in every line whose it is, and take turns with other processes at writing.

    ``lock`` is a descriptor of a file that all of them have open.
    """
    global _worker, _lock
    _worker, _lock = worker, lock


def configure(
    format: str = "text",
    *,
    debug: bool = False,
    descriptor: int = STANDARD_ERROR,
    capacity: int = QUEUE_RECORDS,
) -> Log:
    """Start the log, or apply a reload to the one that runs.

    ``debug`` lets the proxy's own DEBUG events through. Other libraries stay at WARNING.
    """
    global _current
    if _current is None or not _current.is_open:
        _current = Log(descriptor, capacity)
    _current.set_format(format)
    logging.getLogger().setLevel(logging.WARNING)
    for name in OWN_LOGGERS:
        logging.getLogger(name).setLevel(logging.DEBUG if debug else logging.INFO)
    return _current


def dropped() -> int:
    """Give the lines lost so far to a slow standard error."""
    return _current.dropped if _current is not None else 0
