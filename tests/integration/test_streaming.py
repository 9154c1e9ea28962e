"""Large and endless streams: constant memory, back-pressure, and messages nobody asked for."""

from __future__ import annotations

import hashlib
import struct
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.support import messages as wire
from tests.support.wire import WireClient, connect, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Place
    from tests.support.proxy import ProxyProcess
    from tests.support.servers import PostgresServer

MEGABYTE = 1 << 20
LARGE = 64 * MEGABYTE
ALLOWANCE = 12 * MEGABYTE
"""What the proxy's memory may grow while it passes ``LARGE``."""


class Peak:
    """Watches the proxy's resident memory from a thread."""

    def __init__(self, proxy: ProxyProcess) -> None:
        self.proxy = proxy
        self.before = self.peak = proxy.memory_bytes()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._done.wait(0.01):
            self.peak = max(self.peak, self.proxy.memory_bytes())

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()

    @property
    def growth(self) -> int:
        """Bytes above the start."""
        return self.peak - self.before


def consume(client: WireClient) -> tuple[int, str]:
    """Read to ReadyForQuery without keeping anything; gives the bytes and the type characters."""
    total, seen = 0, ""
    while not seen.endswith("Z"):
        code, size = struct.unpack("!cI", client.read_bytes(5))
        left = size - 4
        while left:
            left -= len(client.read_bytes(min(left, MEGABYTE)))
        total += size + 1
        if not seen.endswith(code.decode()):
            seen += code.decode()
    return total, seen


def test_large_row_in_constant_memory(pooled: ProxyProcess) -> None:
    with connect(pooled.host, pooled.port) as client:
        assert client.value("SELECT 1") == "1"
        with Peak(pooled) as peak:
            client.send(wire.query(f"SELECT repeat('x', {LARGE})"))
            total, seen = consume(client)
        assert total > LARGE
        assert seen == "TDCZ"
        assert peak.growth < ALLOWANCE, f"grew by {peak.growth >> 20} MiB"


def test_large_parameter_in_constant_memory(pooled: ProxyProcess) -> None:
    value = b"y" * LARGE
    with connect(pooled.host, pooled.port) as client:
        client.exchange(wire.parse("SELECT md5($1::text)", "big"), wire.SYNC)
        head = wire.bind(value, name="big")
        with Peak(pooled) as peak:
            client.send(head, wire.execute(), wire.SYNC)
            reply = client.read_until()
        assert wire.rows(reply) == [[hashlib.md5(value).hexdigest().encode()]]
        assert peak.growth < ALLOWANCE, f"grew by {peak.growth >> 20} MiB"


def test_large_query_text(pooled: ProxyProcess) -> None:
    """A statement's text may have to be looked at, so it may cost memory; it must still pass."""
    with connect(pooled.host, pooled.port) as client:
        assert client.value("SELECT length('" + "z" * (32 * MEGABYTE) + "')") == str(32 * MEGABYTE)
    with connect(pooled.host, pooled.port) as client:
        text = "SELECT length('" + "z" * (8 * MEGABYTE) + "')"
        reply = client.exchange(wire.run(text), wire.SYNC)
        assert wire.rows(reply) == [[str(8 * MEGABYTE).encode()]]


def test_many_rows_in_constant_memory(pooled: ProxyProcess) -> None:
    with connect(pooled.host, pooled.port) as client:
        with Peak(pooled) as peak:
            client.send(wire.query("SELECT repeat('x', 100) FROM generate_series(1, 500000)"))
            total, seen = consume(client)
        assert total > 50_000_000
        assert seen == "TDCZ"
        assert peak.growth < ALLOWANCE, f"grew by {peak.growth >> 20} MiB"


def test_slow_reader_in_constant_memory(pooled: ProxyProcess) -> None:
    with connect(pooled.host, pooled.port) as client, Peak(pooled) as peak:
        client.send(wire.query("SELECT repeat('x', 1000) FROM generate_series(1, 40000)"))
        for _ in range(40):
            client.read_bytes(20000)
            time.sleep(0.01)
        del client.buffer[:]
        client.close()
        assert peak.growth < ALLOWANCE, f"grew by {peak.growth >> 20} MiB"


@pytest.fixture
def target(place: Place) -> Iterator[WireClient]:
    """A client with an empty table ``streamed``."""
    with connect(place.host, place.port) as client:
        client.query("DROP TABLE IF EXISTS streamed; CREATE TABLE streamed (x text)")
        yield client
    with connect(place.host, place.port) as client:
        client.query("DROP TABLE IF EXISTS streamed")


def test_copy_in_and_out(target: WireClient) -> None:
    line = b"x" * 999 + b"\n"
    target.send(wire.query("COPY streamed FROM STDIN"))
    target.read_until("G")
    for _ in range(32):
        target.send(wire.copy_data(line * 1000))
    reply = target.exchange(wire.COPY_DONE)
    assert [message.tag for message in reply if message.code == "C"] == ["COPY 32000"]
    target.send(wire.query("COPY streamed TO STDOUT"))
    total, seen = consume(target)
    assert total > 32_000_000
    assert seen == "HdcCZ"


def test_copy_in_constant_memory(pooled: ProxyProcess) -> None:
    with connect(pooled.host, pooled.port) as client:
        client.query("BEGIN; CREATE TEMP TABLE sink (x text) ON COMMIT DROP")
        with Peak(pooled) as peak:
            client.send(wire.query("COPY sink FROM STDIN"))
            client.read_until("G")
            for _ in range(LARGE // MEGABYTE):
                client.send(wire.copy_data((b"x" * 1023 + b"\n") * 1024))
            reply = client.exchange(wire.COPY_DONE)
        assert wire.codes(reply) == "CZ"
        assert peak.growth < ALLOWANCE, f"grew by {peak.growth >> 20} MiB"


def test_copy_that_fails_early_swallows_the_rest(target: WireClient) -> None:
    target.send(wire.query("COPY streamed (x, nosuch) FROM STDIN"))
    target.send(*[wire.copy_data(b"a\tb\n" * 100)] * 50, wire.COPY_DONE)
    reply = target.read_until()
    assert wire.states(reply) == ["42703"]
    assert target.value("SELECT count(*) FROM streamed") == "0"


def test_leaving_in_the_middle_of_a_copy(server: PostgresServer, target: WireClient) -> None:
    target.send(wire.query("COPY streamed FROM STDIN"))
    target.read_until("G")
    target.send(wire.copy_data(b"half a li"))
    target.close()
    eventually(lambda: not server.backends(state="active", usename="app"), "over")
    assert server.admin("SELECT count(*) FROM streamed", database="app") == [(0,)]


def test_notifications_reach_an_idle_client(place: Place) -> None:
    with connect(place.host, place.port) as ear, connect(place.host, place.port) as mouth:
        ear.query("LISTEN channel_one")
        for number in range(3):
            mouth.query(f"NOTIFY channel_one, 'number {number}'")
            heard = ear.read()
            assert heard.code == "A"
            assert heard.payload[4:] == f"channel_one\0number {number}\0".encode()


def test_who_notifies_itself_knows_itself(place: Place) -> None:
    with connect(place.host, place.port) as client, connect(place.host, place.port) as other:
        client.query("LISTEN channel_three")
        reply = client.query("NOTIFY channel_three, 'mine'")
        [notified] = [found for found in reply if found.code == "A"]
        assert notified.payload == struct.pack("!I", client.pid) + b"channel_three\0mine\0"
        other.query("NOTIFY channel_three, 'yours'")
        assert client.read().payload[:4] != struct.pack("!I", client.pid)


def test_notifications_reach_only_who_listens(single: ProxyProcess) -> None:
    """On a pool of one a listener keeps the connection, so another client has to wait for it."""
    with connect(single.host, single.port) as ear:
        ear.query("LISTEN channel_two")
        ear.query("NOTIFY channel_two")
        ear.query("UNLISTEN *")
        ear.quit()
    with connect(single.host, single.port) as other:
        reply = other.query("NOTIFY channel_two")
        assert wire.codes(reply) == "CZ"
        assert other.silent()


def test_notices_arrive_while_a_query_runs(place: Place) -> None:
    with connect(place.host, place.port) as client:
        client.send(wire.query("DO $$ BEGIN RAISE NOTICE 'now'; PERFORM pg_sleep(2); END $$"))
        began = time.monotonic()
        notice = client.read()
        assert notice.code == "N"
        assert notice.fields["M"] == "now"
        assert time.monotonic() - began < 1.5
        client.read_until()


def test_rows_arrive_while_a_query_runs(place: Place) -> None:
    with connect(place.host, place.port) as client:
        client.send(
            wire.query(
                "COPY (SELECT repeat('x', 9000), CASE WHEN n = 3 THEN pg_sleep(2) END"
                " FROM generate_series(1, 3) n) TO STDOUT"
            )
        )
        began = time.monotonic()
        client.read_until("d")
        assert time.monotonic() - began < 1.5
        client.read_until()


def test_long_pipeline(place: Place) -> None:
    """Thousands of requests before the first reply is read."""
    count = 3000
    with connect(place.host, place.port) as client:
        sender = threading.Thread(
            target=client.send,
            args=[wire.run("SELECT $1::int", str(n)) + wire.SYNC for n in range(count)],
        )
        sender.start()
        reply = client.read_until("Z", count)
        sender.join()
        assert [row[0] for row in wire.rows(reply)] == [b"%d" % n for n in range(count)]


def test_most_parameters_the_protocol_can_carry(place: Place) -> None:
    with connect(place.host, place.port) as client:
        many = [str(n) for n in range(65535)]
        reply = client.exchange(wire.run("SELECT $65535::text", *many), wire.SYNC)
        # Only the last has a type; the others' cannot be told.
        assert wire.states(reply) == ["42P18"]
        listed = ", ".join(f"${n}::int2" for n in range(1, 1601))
        text = f"SELECT {listed}"
        reply = client.exchange(wire.run(text, *["7"] * 1600), wire.SYNC)
        assert wire.rows(reply) == [[b"7"] * 1600]


def test_more_parameters_than_the_protocol_can_carry(place: Place) -> None:
    with connect(place.host, place.port) as client:
        values = " + ".join(f"${n}::int" for n in range(1, 3001)) + " + $100000::int"
        reply = client.exchange(wire.parse(f"SELECT {values}"), wire.SYNC)
        assert len(wire.states(reply)) == 1
        assert client.value("SELECT 1") == "1"
