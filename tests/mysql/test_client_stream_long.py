"""Commands longer than what is held of them, and packets of 16 MiB and more."""

from __future__ import annotations

import itertools
import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.errors import ProxyError
from proxy.mysql.constants import HOLD_LIMIT_BYTES, MAX_PAYLOAD_BYTES
from proxy.mysql.lenenc import lenenc, packet
from proxy.wire.stream import NEED_BYTES, NEED_SERVER
from tests.mysql.streams import (
    BOTH,
    COLUMN,
    client_stream,
    command,
    err,
    ok,
    pool_state,
    query,
    result,
    server_stream,
)
from tests.support import mysql_messages as wire
from tests.support.mysql_relay import Relay, Session
from tests.support.mysql_wire import MysqlClient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxy.mysql.client_stream import MysqlClientStream
    from proxy.mysql.server_stream import MysqlServerStream
    from tests.support.mysql_servers import MysqlServer

CHUNK_BYTES = 1 << 18
UNKNOWN_EXECUTE = b"\x17" + struct.pack("<IBI", 99, 0, 1)
LENGTHS = (HOLD_LIMIT_BYTES * 2, MAX_PAYLOAD_BYTES, MAX_PAYLOAD_BYTES + 9, MAX_PAYLOAD_BYTES * 2)


def attached() -> tuple[MysqlServerStream, MysqlClientStream]:
    """A client on a server connection."""
    shared = pool_state()
    server, client = server_stream(shared), client_stream(shared, wire.BASE | BOTH)
    client.attach(server)
    return server, client


def feed(client: MysqlClientStream, data: bytes) -> tuple[bytes, bytes]:
    """Feed a client's bytes by chunks; what goes to the server, and to the client."""
    to_server, to_client = [], []
    for start in range(0, len(data), CHUNK_BYTES):
        client.receive(data[start : start + CHUNK_BYTES])
        to_server.append(client.to_server)
        to_client.append(client.to_client)
    return b"".join(to_server), b"".join(to_client)


def prepared(number: int, parameters: int) -> bytes:
    """Encode the response to COM_STMT_PREPARE of a statement with one column."""
    head = b"\0" + struct.pack("<IHHBH", number, 1, parameters, 0, 0)
    payloads = [head] + [COLUMN] * (parameters + 1)
    return b"".join(packet(payload, 1 + i) for i, payload in enumerate(payloads))


@settings(max_examples=20)
@given(
    length=st.sampled_from(LENGTHS),
    cuts=st.lists(st.integers(0, 2 * MAX_PAYLOAD_BYTES + 20), max_size=5),
)
def test_a_long_command_goes_on_unchanged_wherever_it_is_cut(length: int, cuts: list[int]) -> None:
    _, client = attached()
    data = packet(b"\x04".ljust(length, b"x"), 0)
    bounds = sorted({0, len(data), *(cut % len(data) for cut in cuts)})
    found = b""
    for start, stop in itertools.pairwise(bounds):
        client.receive(data[start:stop])
        found += client.to_server
    assert found == data
    assert not client.in_message()
    assert client.error is None


@pytest.mark.parametrize("length", LENGTHS)
def test_nothing_of_a_command_that_we_answer_reaches_the_server(length: int) -> None:
    _, client = attached()
    data = packet(UNKNOWN_EXECUTE.ljust(length, b"z"), 0)
    to_server, to_client = feed(client, data + query("SELECT 1"))
    assert to_client[4:7] == b"\xff" + (1243).to_bytes(2, "little")
    assert to_client.count(b"Unknown prepared statement") == 1
    assert to_server == query("SELECT 1")
    assert client.error is None


@pytest.mark.parametrize("length", LENGTHS)
def test_nothing_of_it_is_taken_for_a_command_while_there_is_no_server(length: int) -> None:
    client = client_stream(pool_state())
    data = packet(UNKNOWN_EXECUTE.ljust(length, b"z"), 0) + command(0x0E)
    answers = b""
    for start in range(0, len(data), CHUNK_BYTES):
        client.demand(client.held + data[start : start + CHUNK_BYTES])
        answers += client.to_client
    assert client.error is None
    assert answers.count(b"Unknown prepared statement") == 1
    assert answers.endswith(b"\x07\0\0\x01\0\0\0\x02\0\x01\0")
    assert client.held == b""


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("arrived", [HOLD_LIMIT_BYTES, MAX_PAYLOAD_BYTES, MAX_PAYLOAD_BYTES + 5])
def test_all_of_a_refused_command_is_dropped(length: int, arrived: int) -> None:
    client = client_stream(pool_state())
    data = packet(b"\x04".ljust(length, b"x"), 0) + query("SELECT 1")
    client.demand(data[:arrived])
    client.refuse(ProxyError("no"))
    client.demand(client.held + data[arrived:])
    assert client.error is None
    assert client.held == query("SELECT 1")


def test_statements_alike_in_what_is_held_of_them_are_told_apart() -> None:
    server, client = attached()
    text = b"SELECT /*" + b"x" * HOLD_LIMIT_BYTES + b"*/ "
    for number, last in enumerate((b"1", b"2"), start=1):
        feed(client, command(0x16, text + last))
        server.receive(prepared(10 + number, 0))
    for number in (1, 2):
        execute = struct.pack("<IBI", number, 0, 1)
        assert feed(client, command(0x17, execute))[0] == command(
            0x17, struct.pack("<I", 10 + number) + execute[4:]
        )
        server.receive(ok())
    assert client.pin_reason() == "long_prepared_statement"
    client.detach()
    assert server.needs_cleaning()


def test_a_statement_of_unknown_text_is_never_prepared_again() -> None:
    server, client = attached()
    feed(client, command(0x16, b"SELECT " + b"1" * HOLD_LIMIT_BYTES))
    server.receive(prepared(10, 0))
    for number in range(3):
        feed(client, command(0x16, b"SELECT %d" % number))
        server.receive(prepared(20 + number, 0))
    to_server, to_client = feed(client, command(0x17, struct.pack("<IBI", 1, 0, 1)))
    assert to_server == command(0x19, struct.pack("<I", 10))
    assert to_client[4] == 0xFF


def without_types(length: int) -> bytes:
    """Encode an execution of a statement with one BLOB, its types left out, of this length."""
    head = b"\x17" + struct.pack("<IBI", 1, 0, 1) + b"\0\0"
    size = length - len(head) - 9
    return head + b"\xfe" + size.to_bytes(8, "little") + b"v" * size


@pytest.mark.parametrize(
    "length",
    [
        MAX_PAYLOAD_BYTES - 3,
        MAX_PAYLOAD_BYTES - 2,
        MAX_PAYLOAD_BYTES - 1,
        MAX_PAYLOAD_BYTES,
        MAX_PAYLOAD_BYTES + 1,
        2 * MAX_PAYLOAD_BYTES - 2,
        2 * MAX_PAYLOAD_BYTES,
    ],
)
@pytest.mark.parametrize("whole", [False, True])
def test_types_are_put_into_an_execution_of_any_length(length: int, whole: bool) -> None:
    server, client = attached()
    feed(client, command(0x16, b"SELECT ?"))
    server.receive(prepared(10, 1))
    head = struct.pack("<IBI", 1, 0, 1)
    feed(client, command(0x17, head + b"\0\x01\xfc\0\x01a"))
    server.receive(result([b"a"]))
    client.detach()
    other = server_stream(client.shared)
    client.attach(other)
    execute = without_types(length)
    data = packet(execute, 0)
    first = len(data) if whole else HOLD_LIMIT_BYTES + 4
    client.receive(data[:first])
    assert client.to_server == command(0x16, b"SELECT ?")
    other.receive(prepared(11, 1))
    client.waiting = False
    client.receive(b"")
    sent = client.to_server
    assert whole or client.in_message()
    sent += feed(client, data[first:])[0]
    number = struct.pack("<I", 11)
    assert sent == packet(execute[:1] + number + execute[5:11] + b"\x01\xfc\0" + execute[12:], 0)
    assert not client.in_message()
    other.receive(result([b"a"]))
    assert feed(client, query("SELECT 1"))[0] == query("SELECT 1")
    # Where the server has the types already, nothing is changed.
    other.receive(result([b"1"]))
    sent, _ = feed(client, data)
    assert sent == packet(execute[:1] + number + execute[5:], 0)


def test_a_file_packet_of_full_length_does_not_end_the_file() -> None:
    server, client = attached()
    feed(client, query("LOAD DATA LOCAL INFILE 'x' INTO TABLE t"))
    server.receive(packet(b"\xfbx", 1))
    full = packet(bytes(MAX_PAYLOAD_BYTES), 2)
    assert feed(client, full)[0] == full
    assert client.in_message()
    assert feed(client, packet(b"", 4))[0] == packet(b"", 4)
    assert not client.in_message()
    server.receive(ok(5))
    assert server.is_idle()


@pytest.mark.parametrize("size", [1, 3, 5, 11, 12, 30])
def test_a_file_that_the_server_no_longer_wants_is_dropped_to_its_end(size: int) -> None:
    server, client = attached()
    feed(client, query("LOAD DATA LOCAL INFILE 'x' INTO TABLE t"))
    server.receive(packet(b"\xfbx", 1))
    begun = packet(b"12345678", 2)
    assert feed(client, begun[:size])[0] == (begun[:size] if size > 3 else b"")
    server.receive(err(3))
    assert server.to_client == err(3)
    assert server.spoilt, "it may take what was on its way for commands"
    assert feed(client, begun[size:] + packet(b"more", 3) + packet(b"", 4)) == (b"", b"")
    assert client.error is None
    assert not client.in_message()
    assert feed(client, query("SELECT 1"))[0] == query("SELECT 1")


def test_a_long_packet_of_an_unwanted_file_is_dropped_with_its_continuation() -> None:
    server, client = attached()
    feed(client, query("LOAD DATA LOCAL INFILE 'x' INTO TABLE t"))
    server.receive(packet(b"\xfbx", 1))
    full = packet(bytes(MAX_PAYLOAD_BYTES), 2)
    feed(client, full[:100])
    server.receive(err(3))
    client.detach()
    assert client.demand(full[100:]) == NEED_BYTES
    assert client.demand(packet(b"", 4)) == NEED_BYTES
    assert client.demand(query("SELECT 1")) == NEED_SERVER
    assert client.held == query("SELECT 1")


def test_sequence_ids_of_a_files_continued_packets_are_shifted_back() -> None:
    shared = pool_state()
    server, client = server_stream(shared), client_stream(shared)
    client.attach(server)
    client.receive(query("SELECT 1; LOAD DATA LOCAL INFILE 'x' INTO TABLE t"))
    server.receive(result([b"1"], status=10) + packet(b"\xfbx", 5))
    assert server.to_client[-3] == 6
    assert feed(client, packet(bytes(MAX_PAYLOAD_BYTES + 1), 7) + packet(b"", 9))[0] == (
        packet(bytes(MAX_PAYLOAD_BYTES + 1), 6) + packet(b"", 8)
    )
    server.receive(ok(9))
    assert server.to_client == ok(10)


@pytest.mark.parametrize("reply", ["columns", "parameters"])
def test_an_error_among_definitions_ends_the_reply(reply: str) -> None:
    server, client = attached()
    feed(client, query("SELECT 1, 2") if reply == "columns" else command(0x16, b"SELECT ?"))
    head = packet(b"\x02", 1) if reply == "columns" else prepared(10, 1)[:16]
    server.receive(head + packet(COLUMN, 2) + err(3))
    assert server.is_quiet()
    assert server.to_client.endswith(err(3))
    assert client.statements == {}


@pytest.fixture
def roomy(mysql_server: MysqlServer) -> Iterator[MysqlServer]:
    """A server that takes packets of 64 MiB."""
    ((before,),) = mysql_server.admin("SELECT @@global.max_allowed_packet")
    mysql_server.admin("SET GLOBAL max_allowed_packet = 67108864")
    yield mysql_server
    mysql_server.admin(f"SET GLOBAL max_allowed_packet = {before}")


@pytest.mark.parametrize("capabilities", [wire.BASE, wire.BASE | BOTH])
@pytest.mark.parametrize("size", [MAX_PAYLOAD_BYTES - 6, MAX_PAYLOAD_BYTES + 1])
def test_16_mib_there_and_back(roomy: MysqlServer, size: int, capabilities: int) -> None:
    relay = Relay(roomy)
    session = Session(relay, capabilities)
    session.exchange(b"\x16SELECT ?", relay.connections[0])
    value = b"x" * size
    execute = b"\x17" + struct.pack("<IBI", 1, 0, 1) + b"\0\x01\xfc\0" + lenenc(value)
    found = session.send(packet(execute, 0), relay.connections[1])
    with MysqlClient(roomy.host, roomy.port) as client:
        client.login("app", "app-secret", "app", capabilities=capabilities)
        number = client.exchange(b"\x16SELECT ?")[0].payload[1:5]
        direct = client.exchange(execute[:1] + number + execute[5:])
    rows = packet(direct[-2].payload, direct[-2].sequence)
    assert found.endswith(rows + packet(direct[-1].payload, direct[-1].sequence))
    assert session.query("SELECT 1", relay.connections[0])[-2].payload == b"\x011"
    relay.close()


@pytest.mark.parametrize("more", [-3, -2, -1, 0, 1])
@pytest.mark.parametrize("packets", [1, 2])
def test_executions_without_types_elsewhere(roomy: MysqlServer, more: int, packets: int) -> None:
    relay = Relay(roomy)
    one, two = relay.connections
    session = Session(relay, wire.BASE | BOTH)
    session.exchange(b"\x16SELECT CONCAT(LENGTH(?), '')", one)
    typed = b"\x17" + struct.pack("<IBI", 1, 0, 1) + b"\0\x01\xfc\0\x01a"
    assert session.exchange(typed, one)[-2].payload == b"\0\0\x011"
    execute = without_types(packets * MAX_PAYLOAD_BYTES + more)
    for connection in (two, one, two):
        found = session.exchange(execute, connection)
        assert found[-2].payload == b"\0\0\x08%d" % (len(execute) - 21), connection
    relay.close()


def test_long_values_of_prepared_statements(roomy: MysqlServer) -> None:
    relay = Relay(roomy)
    one, two = relay.connections
    session = Session(relay, wire.BASE | BOTH)
    session.exchange(b"\x16SELECT LENGTH(?)", one)
    size = MAX_PAYLOAD_BYTES + 7
    value = b"\xfe" + size.to_bytes(8, "little") + bytes(size)
    execute = b"\x17" + struct.pack("<IBI", 1, 0, 1)
    found = session.send(packet(execute + b"\0\x01\xfc\0" + value, 0), two)
    assert struct.pack("<I", size) in found
    chunk = b"\x18" + struct.pack("<IH", 1, 0) + bytes(MAX_PAYLOAD_BYTES)
    session.send(packet(chunk, 0), one)
    assert session.stream.pin_reason() == "prepared_statement_in_use"
    found = session.send(packet(execute + b"\0\x01\xfc\0", 0))
    assert struct.pack("<I", MAX_PAYLOAD_BYTES) in found
    assert session.on is None
    relay.close()


def test_a_long_statement_is_prepared_as_it_is(roomy: MysqlServer) -> None:
    relay = Relay(roomy)
    session = Session(relay, wire.BASE | BOTH)
    text = b"SELECT /*" + b"x" * HOLD_LIMIT_BYTES + b"*/ "
    for last in (b"1", b"2"):
        session.send(packet(b"\x16" + text + last, 0))
    for number in (1, 2):
        found = session.exchange(b"\x17" + struct.pack("<IBI", number, 0, 1))
        assert found[2].payload[2] == number
    relay.close()
