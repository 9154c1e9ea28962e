"""The log: its formats, what it escapes and hides, and that it never makes anybody wait."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import re
import subprocess
import sys
import threading
import time
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.credentials.base import Credential
from proxy.errors import ConnectFailed
from proxy.net import logs
from proxy.net.logs import DroppingHandler, JsonFormatter, Log, TextFormatter, configure, event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOGGER = logging.getLogger("proxy.test_logs")
ROOT = Path(__file__).resolve().parents[2]


@contextlib.contextmanager
def own_levels() -> Iterator[None]:
    """Put the levels that ``configure`` sets back afterwards."""
    loggers = [logging.getLogger(name) for name in (None, *logs.OWN_LOGGERS)]
    before = [logger.level for logger in loggers]
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


class Lines:
    """What a log wrote to a pipe."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        self.log: Log | None = None

    def start(self, format: str = "text", capacity: int = 10_000) -> Log:
        self.log = configure(format, descriptor=self.writing, capacity=capacity)
        return self.log

    def read(self) -> list[str]:
        """End the log and give everything it wrote."""
        assert self.log is not None
        collected: list[bytes] = []
        reader = threading.Thread(target=self._drain, args=(collected,))
        reader.start()
        self.log.close()
        os.close(self.writing)
        self.writing = -1
        reader.join()
        return b"".join(collected).decode().splitlines()

    def _drain(self, collected: list[bytes]) -> None:
        while data := os.read(self.reading, 65536):
            collected.append(data)

    def close(self) -> None:
        if self.log is not None:
            self.log.close()
        for descriptor in (self.reading, self.writing):
            with contextlib.suppress(OSError):
                os.close(descriptor)


@pytest.fixture
def lines() -> Iterator[Lines]:
    written = Lines()
    with own_levels():
        yield written
    written.close()


RECORDS: logs.Records = queue.Queue()
RENDERED = logging.getLogger("test_logs.rendered")
RENDERED.setLevel(logging.INFO)
RENDERED.propagate = False
RENDERED.addHandler(DroppingHandler(RECORDS))


def rendered(formatter: logging.Formatter, **fields: object) -> str:
    """Format one event without a thread."""
    event(RENDERED, logging.INFO, "happened", exc_info=None, **fields)
    record = RECORDS.get_nowait()
    assert record is not None
    return formatter.format(record)


def parsed(line: str) -> dict[str, str]:
    """Read the fields of a text line back."""
    pairs: list[tuple[str, str, str]] = re.findall(
        r'(?:^|(?<= ))(\w+)=(?:"((?:[^"\\]|\\.)*)"|([^ ]*))', line
    )
    return {
        key: json.loads(f'"{quoted}"', strict=False) if quoted else plain
        for key, quoted, plain in pairs
    }


def test_text_line() -> None:
    line = rendered(TextFormatter(), proxy="orders", user="app", clients=3, ok=True, target=None)
    stamp, level, rest = line.split(" ", 2)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", stamp)
    assert (level, rest) == (
        "INFO",
        "event=happened proxy=orders user=app clients=3 ok=true target=null",
    )


def test_json_line_keeps_types() -> None:
    line = rendered(JsonFormatter(), proxy="orders", clients=3, seconds=0.5, ok=True, target=None)
    facts = json.loads(line)
    assert facts.pop("time").endswith("Z")
    assert facts == {
        "level": "INFO",
        "event": "happened",
        "proxy": "orders",
        "clients": 3,
        "seconds": 0.5,
        "ok": True,
        "target": None,
    }


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
@given(value=st.text(st.characters(codec=None)), other=st.text())
def test_a_value_cannot_forge_anything(
    formatter: logging.Formatter, value: str, other: str
) -> None:
    line = rendered(formatter, user=value, database=other)
    assert line.isprintable()
    if isinstance(formatter, JsonFormatter):
        facts = json.loads(line)
        assert list(facts) == ["time", "level", "event", "user", "database"]
    else:
        facts = parsed(line)
        assert list(facts) == ["event", "user", "database"]
    assert facts["user"] == value
    assert facts["database"] == other


def test_injection_spelled_out() -> None:
    attack = 'app\n2026-01-01T00:00:00.000Z INFO event=client_connected user="root"\x1b[2J\u202e'
    line = rendered(TextFormatter(), user=attack)
    assert line.endswith(
        r'user="app\n2026-01-01T00:00:00.000Z INFO event=client_connected'
        r' user=\"root\"\u001b[2J\u202e"'
    )


def test_own_keys_are_not_replaced() -> None:
    facts = json.loads(rendered(JsonFormatter(), time="never", event="other"))
    assert facts["event"] == "happened"
    assert (facts["time_"], facts["event_"]) == ("never", "other")


def test_values_are_bounded() -> None:
    line = rendered(TextFormatter(), user="x" * 1_000_000)
    assert len(line) < 1200
    assert "(1000000 characters)" in line


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_credentials_are_never_written(formatter: logging.Formatter) -> None:
    credential = Credential(secret="hunter2-secret", username="app")
    line = rendered(
        formatter,
        login=credential,
        logins=[credential],
        by_user={"app": credential},
        error=ConnectFailed("refused", detail=f"with {credential}"),
        password="hunter2-secret",
        credential="static:hunter2-secret",
    )
    assert "hunter2" not in line
    assert line.count("redacted") == 3


def test_odd_values() -> None:
    class Broken:
        def __str__(self) -> str:
            raise RuntimeError("no")

    class Reason(Enum):
        IDLE = "idle_timeout"

    facts = json.loads(
        rendered(
            JsonFormatter(),
            broken=Broken(),
            reason=Reason.IDLE,
            nan=float("nan"),
            proxy_error=ConnectFailed("refused", detail="errno 111"),
            error=OSError("gone"),
        )
    )
    assert facts["broken"] == "Broken (RuntimeError while formatting)"
    assert facts["reason"] == "idle_timeout"
    assert facts["nan"] == "nan"
    assert facts["proxy_error"] == "refused (errno 111)"
    assert facts["error"] == "OSError: gone"


def test_fields_given_to_a_logger_count_as_an_event() -> None:
    extra = {"fields": {"user": "a b", "password": "hunter2", "level": 1}}
    RENDERED.info("client_connected", extra=extra)
    record = RECORDS.get_nowait()
    assert record is not None
    line = TextFormatter().format(record)
    assert line.endswith('event=client_connected user="a b" password=[redacted] level_=1')


def test_levels_and_reload(lines: Lines) -> None:
    log = lines.start("text")
    event(LOGGER, logging.DEBUG, "borrowed")
    event(LOGGER, logging.INFO, "started")
    assert configure("text", debug=True) is log
    event(LOGGER, logging.DEBUG, "returned")
    logging.getLogger("tidegate").warning("upkeep_failed")
    logging.getLogger("asyncio").info("chatter")
    logging.getLogger("asyncio").warning("slow callback %s\n", "x")
    assert [line.split(" ", 1)[1] for line in lines.read()] == [
        "INFO event=started",
        "DEBUG event=returned",
        "WARNING event=upkeep_failed",
        r'WARNING event=log logger=asyncio message="slow callback x\n"',
    ]


def test_traceback_is_one_line(lines: Lines) -> None:
    lines.start("json")
    try:
        raise OSError("boom")
    except OSError as error:
        event(LOGGER, logging.ERROR, "crashed", exc_info=error)
        LOGGER.exception("also")
    first, second = (json.loads(line) for line in lines.read())
    for facts in (first, second):
        assert facts["traceback"].startswith("Traceback (most recent call last):\n")
        assert facts["traceback"].endswith("OSError: boom")
    assert first["event"] == "crashed"
    assert second["message"] == "also"


def test_a_broken_record_costs_one_line(lines: Lines) -> None:
    lines.start("text")
    event(LOGGER, logging.INFO, "huge", value=10**5000)
    event(LOGGER, logging.INFO, "next")
    first, second = lines.read()
    assert first == "event=log_record_failed error=ValueError"
    assert second.endswith("event=next")


def test_a_broken_call_of_a_library_is_written() -> None:
    record = logging.LogRecord("asyncio", logging.WARNING, "", 0, "%d", ("not a number",), None)
    assert "'%d' (TypeError while formatting)" in TextFormatter().format(record)


def test_a_stuck_reader_stops_nobody(lines: Lines) -> None:
    log = lines.start("text", capacity=50)
    begin = time.monotonic()
    for number in range(5_000):
        event(LOGGER, logging.INFO, "client_connected", number=number, user="u" * 500)
    assert time.monotonic() - begin < 5
    assert logs.dropped() == log.dropped > 4_000
    written = lines.read()
    numbers = [int(found[1]) for line in written if (found := re.search(r"number=(\d+)", line))]
    counts = [
        int(found[1])
        for line in written
        if (found := re.search(r"WARNING event=log_records_dropped count=(\d+)", line))
    ]
    assert numbers == sorted(numbers)
    assert sum(counts) == log.dropped
    assert len(numbers) + sum(counts) == 5_000


def test_a_reader_that_is_gone_stops_nobody(lines: Lines) -> None:
    log = lines.start("text")
    os.close(lines.reading)
    event(LOGGER, logging.INFO, "client_connected")
    begin = time.monotonic()
    log.close()
    assert time.monotonic() - begin < logs.CLOSE_TIMEOUT_S


def test_a_non_blocking_descriptor_loses_nothing(lines: Lines) -> None:
    os.set_blocking(lines.writing, False)
    lines.start("text")
    for number in range(2_000):
        event(LOGGER, logging.INFO, "client_connected", number=number, user="u" * 100)
    assert len(lines.read()) == 2_000


def test_closing_twice_and_starting_again(lines: Lines) -> None:
    first = lines.start()
    first.close()
    first.close()
    second = lines.start("text")
    assert second is not first
    event(LOGGER, logging.INFO, "again")
    assert len(lines.read()) == 1


def child(code: str) -> subprocess.Popen[bytes]:
    """Run a program that logs to its standard error."""
    head = "import logging\nfrom proxy.net.logs import configure, event\nconfigure()\n"
    logger = "logger = logging.getLogger('proxy.child')\n"
    return subprocess.Popen(
        [sys.executable, "-c", head + logger + code], cwd=ROOT, stderr=subprocess.PIPE
    )


def with_child(code: str, check: Callable[[subprocess.Popen[bytes]], None]) -> None:
    process = child(code)
    try:
        check(process)
    finally:
        process.kill()
        process.communicate()


def test_everything_is_written_at_exit() -> None:
    def check(process: subprocess.Popen[bytes]) -> None:
        _, text = process.communicate(timeout=30)
        assert text.count(b"event=stopped") == 300
        assert process.returncode == 0

    with_child("for n in range(300): event(logger, 20, 'stopped', n=n)\n", check)


def test_exit_does_not_wait_for_a_stuck_terminal() -> None:
    def check(process: subprocess.Popen[bytes]) -> None:
        assert process.wait(timeout=30) == 0

    with_child("for n in range(3000): event(logger, 20, 'stopped', user='u' * 500)\n", check)
