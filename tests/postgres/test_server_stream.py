"""What a server sends, whole and in pieces, and what it must not send."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.postgres import pipeline as pl
from proxy.postgres.constants import HOLD_LIMIT_BYTES
from proxy.postgres.pipeline import Question, Reply
from proxy.postgres.prepared import Preparation, Statement
from tests.support import fake_postgres as fake
from tests.support import messages as wire
from tests.support.messages import message, text
from tests.support.streams import client_stream, server_stream, shared_state

if TYPE_CHECKING:
    from proxy.postgres.server_stream import PostgresServerStream

READY = message("Z", b"I")
IN_BLOCK = message("Z", b"T")
DONE = message("C", text("SELECT 1"))
ROW = fake.data_row("1")
COLUMNS = fake.row_description(("n",))
NOTICE = message("N", text("SNOTICE") + text("Mhear") + b"\0")
NOTIFICATION = message("A", struct.pack("!I", 7) + text("channel") + text("payload"))
STATUS = message("S", text("TimeZone") + text("Asia/Tokyo"))
ERROR = fake.error("22012", "division by zero")
FATAL = fake.error("57P01", "terminating connection", "FATAL")
PARAMETERS = message("t", b"\0\0")


def attached(*replies: Reply) -> PostgresServerStream:
    """Make a stream that serves a client and owes replies."""
    shared = shared_state()
    server = server_stream(shared)
    client_stream(shared).attach(server)
    for reply in replies:
        server.pipeline.push(reply)
    return server


def hear(server: PostgresServerStream, *chunks: bytes) -> bytes:
    """Let the server send chunks; give what the client hears."""
    heard = b""
    for chunk in chunks:
        server.receive(chunk)
        heard += server.to_client
    return heard


def state(server: PostgresServerStream) -> tuple[object, ...]:
    """Everything that decides what happens next."""
    return (
        server.error,
        server.farewell,
        server.status,
        server.completed,
        server.partial,
        server.remain,
        server.reported,
        [reply.kind for reply in server.pipeline.pending()],
        server.pipeline.skipping,
        server.pipeline.copying,
        server.pipeline.uncertain,
        sorted(server.statements.names.values()),
        server.spoilt,
    )


# Conversations: owed replies, what the server sends, what the client hears.

OWN_ROW = fake.data_row("setting", "work_mem", "4MB")


def preparing() -> tuple[Reply, Reply]:
    made = Preparation(Statement(b"SELECT 1\0\0\0", None), b"s1", b"tidegate_1")
    return Reply(pl.PARSE, made), Reply(pl.OWN_DESCRIBE, made)


def own(purpose: int = pl.PROBE) -> Reply:
    return Reply(pl.OWN_QUERY, None, Question(purpose))


CONVERSATIONS = {
    "simple query": ([pl.QUERY_REPLY], COLUMNS + ROW * 3 + DONE + READY, None),
    "two statements": ([pl.QUERY_REPLY], (COLUMNS + ROW + DONE) * 2 + READY, None),
    "empty query": ([pl.QUERY_REPLY], message("I") + READY, None),
    "failed query": ([pl.QUERY_REPLY], COLUMNS + ROW + ERROR + READY, None),
    "pipelined queries": ([pl.QUERY_REPLY] * 3, (ROW + DONE + READY) * 3, None),
    "notices and notifications": (
        [pl.QUERY_REPLY],
        NOTICE + ROW + NOTICE + DONE + NOTIFICATION + READY + NOTICE + NOTIFICATION,
        None,
    ),
    "parameter status": ([pl.QUERY_REPLY], DONE + STATUS + READY, None),
    "extended": (
        [pl.PARSE_REPLY, pl.BIND_REPLY, pl.DESCRIBE_REPLY, pl.EXECUTE_REPLY, pl.SYNC_REPLY],
        message("1") + message("2") + COLUMNS + ROW + DONE + READY,
        None,
    ),
    "portal suspended": (
        [pl.BIND_REPLY, pl.EXECUTE_REPLY, pl.EXECUTE_REPLY, pl.SYNC_REPLY],
        message("2") + ROW + message("s") + ROW + DONE + READY,
        None,
    ),
    "describe a statement": (
        [pl.DESCRIBE_REPLY, pl.DESCRIBE_REPLY, pl.SYNC_REPLY],
        PARAMETERS + COLUMNS + PARAMETERS + message("n") + READY,
        None,
    ),
    "close": (
        [pl.CLOSE_REPLY, pl.OWN_CLOSE_REPLY, pl.SYNC_REPLY],
        message("3") * 2 + READY,
        message("3") + READY,
    ),
    "error drops the rest": (
        [pl.PARSE_REPLY, pl.BIND_REPLY, pl.EXECUTE_REPLY, pl.SYNC_REPLY, pl.QUERY_REPLY],
        message("1") + ERROR + READY + DONE + READY,
        None,
    ),
    "error without Sync": ([pl.BIND_REPLY, pl.EXECUTE_REPLY], ERROR, None),
    "prepare for us": (
        [*preparing(), pl.BIND_REPLY, pl.SYNC_REPLY],
        message("1") + PARAMETERS + COLUMNS + message("2") + READY,
        message("1") + message("2") + READY,
    ),
    "our own Parse": (
        [pl.OWN_PARSE_REPLY, pl.BIND_REPLY, pl.SYNC_REPLY],
        message("1") + message("2") + READY,
        message("2") + READY,
    ),
    "our own query": (
        [own(), pl.QUERY_REPLY],
        COLUMNS + OWN_ROW + NOTICE + DONE + READY + ROW + DONE + READY,
        ROW + DONE + READY,
    ),
    "our own failed query": ([own(), pl.QUERY_REPLY], ERROR + READY + DONE + READY, DONE + READY),
    "our own Sync": ([pl.OWN_SYNC_REPLY, pl.QUERY_REPLY], READY + DONE + READY, DONE + READY),
    "copy out": (
        [pl.QUERY_REPLY],
        message("H", b"\0\0\0") + message("d", b"1\n") * 3 + message("c") + DONE + READY,
        None,
    ),
    "copy in": (
        [pl.QUERY_REPLY, pl.COPY_END_REPLY],
        message("G", b"\0\0\0") + message("C", text("COPY 1")) + READY,
        None,
    ),
    "copy in, extended": (
        [pl.EXECUTE_REPLY, pl.SYNC_REPLY, pl.COPY_END_REPLY, pl.SYNC_REPLY],
        message("G", b"\0\0\0") + message("C", text("COPY 1")) + READY,
        None,
    ),
    "copy in fails": (
        [pl.EXECUTE_REPLY, pl.COPY_END_REPLY, pl.SYNC_REPLY],
        message("G", b"\0\0\0") + ERROR + READY,
        None,
    ),
    "function call": ([pl.FUNCTION_CALL_REPLY], message("V", b"\0\0\0\0") + READY, None),
    "failed function call": ([pl.FUNCTION_CALL_REPLY], ERROR + READY, None),
    "transaction": ([pl.QUERY_REPLY] * 2, DONE + IN_BLOCK + ERROR + message("Z", b"E"), None),
    "farewell": ([pl.QUERY_REPLY], ROW + FATAL, None),
    "farewell while idle": ([], FATAL, None),
    "large rows": (
        [pl.QUERY_REPLY],
        fake.data_row("x" * 5000) * 2 + DONE + READY,
        None,
    ),
}


def conversation(name: str) -> tuple[PostgresServerStream, bytes, bytes]:
    replies, sent, heard = CONVERSATIONS[name]
    return attached(*replies), sent, sent if heard is None else heard


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_conversation(name: str) -> None:
    server, sent, heard = conversation(name)
    assert hear(server, sent) == heard
    assert not server.error
    assert server.partial == b""


def test_what_passes_unchanged_is_not_copied() -> None:
    server = attached(pl.QUERY_REPLY)
    chunk = COLUMNS + ROW * 3 + DONE + READY
    server.receive(chunk)
    assert server.to_client is chunk


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_every_split_point(name: str) -> None:
    whole, sent, heard = conversation(name)
    hear(whole, sent)
    step = max(1, len(sent) // 600)
    for cut in range(0, len(sent) + 1, step):
        server, _, _ = conversation(name)
        for reply in server.pipeline.pending():
            if reply.question is not None:
                reply.question.rows, reply.question.error = [], b""
        assert hear(server, sent[:cut], sent[cut:]) == heard, cut
        assert state(server) == state(whole), cut


@given(st.sampled_from(sorted(CONVERSATIONS)), st.lists(st.integers(1, 40), min_size=1))
def test_any_pieces(name: str, sizes: list[int]) -> None:
    whole, sent, heard = conversation(name)
    hear(whole, sent)
    server, _, _ = conversation(name)
    chunks: list[bytes] = []
    position = 0
    while position < len(sent):
        size = sizes[len(chunks) % len(sizes)]
        chunks.append(sent[position : position + size])
        position += size
    assert hear(server, *chunks) == heard
    assert state(server) == state(whole)


def test_a_row_longer_than_anything_passes_in_pieces() -> None:
    server = attached(pl.QUERY_REPLY)
    size = 3 * HOLD_LIMIT_BYTES
    head = b"D" + (size + 4).to_bytes(4, "big")
    assert hear(server, head) == head
    for _ in range(3):
        assert hear(server, b"x" * HOLD_LIMIT_BYTES) == b"x" * HOLD_LIMIT_BYTES
        assert server.partial == b""
    assert hear(server, DONE + READY) == DONE + READY
    assert server.is_idle()


@pytest.mark.parametrize("kind", ["E", "N"])
def test_a_message_too_long_to_hold_passes_in_pieces(kind: str) -> None:
    server = attached(pl.QUERY_REPLY)
    sent = message(kind, b"SERROR\0VERROR\0Mtidegate_1" + b"x" * (2 * HOLD_LIMIT_BYTES) + b"\0\0")
    assert hear(server, sent[:100], sent[100:], READY) == sent + READY
    assert server.is_idle()


def test_a_row_of_ours_too_long_to_hold_is_no_answer() -> None:
    question = Question(pl.SETTLE)
    server = attached(Reply(pl.OWN_QUERY, None, question))
    row = fake.data_row("setting", "a.b", "x" * (HOLD_LIMIT_BYTES + 1))
    assert hear(server, row[:70], row[70:], DONE, READY) == b""
    assert not server.error
    assert question.error
    assert question.rows == []


def test_rows_of_ours_are_kept() -> None:
    question = Question(pl.PROBE)
    server = attached(Reply(pl.OWN_QUERY, None, question))
    assert hear(server, COLUMNS + OWN_ROW + OWN_ROW + DONE + READY) == b""
    assert question.rows == [OWN_ROW[5:]] * 2
    assert server.completed == 0


@pytest.mark.parametrize(
    ("error", "farewell"),
    [
        (fake.error("57P01", "x", "FATAL"), True),
        (fake.error("XX000", "x", "PANIC"), True),
        (
            message("E", text("SFATALE") + text("VFATAL") + text("C57P01") + text("Mx") + b"\0"),
            True,
        ),
        (fake.error("P0001", "FATAL"), False),
        (fake.error("P0001", "PANIC"), False),
        (fake.error("P0001", "VFATAL"), False),
        (ERROR, False),
    ],
)
def test_farewell(error: bytes, farewell: bool) -> None:
    server = attached(pl.QUERY_REPLY)
    assert hear(server, error) == error
    assert server.farewell == farewell


def test_completed_queries_are_counted() -> None:
    server = attached(pl.QUERY_REPLY, pl.SYNC_REPLY, pl.FUNCTION_CALL_REPLY, own())
    hear(server, DONE + READY + READY + READY + DONE + READY)
    assert server.completed == 3


# What a server must not send.

WRONG = {
    "ReadyForQuery that nothing asked for": ([], READY),
    "a row that nothing asked for": ([], ROW),
    "a command that nothing asked for": ([], DONE),
    "ParseComplete for Bind": ([pl.BIND_REPLY], message("1")),
    "BindComplete for a query": ([pl.QUERY_REPLY], message("2")),
    "CloseComplete for a query of ours": ([own()], message("3")),
    "ReadyForQuery for Bind": ([pl.BIND_REPLY, pl.SYNC_REPLY], READY),
    "a long ReadyForQuery": ([pl.QUERY_REPLY], message("Z", b"II")),
    "a short ReadyForQuery": ([pl.QUERY_REPLY], message("Z")),
    "a tag without a text": ([pl.QUERY_REPLY], message("C")),
    "a tag of one byte": ([pl.QUERY_REPLY], message("C", b"\0")),
    "a message nobody knows": ([pl.QUERY_REPLY], message("?", b"x")),
    "authentication": ([pl.QUERY_REPLY], message("R", b"\0\0\0\0")),
    "a length of three": ([pl.QUERY_REPLY], b"D\0\0\0\x03"),
    "a length of zero": ([pl.QUERY_REPLY], b"C\0\0\0\0"),
    "a negative length": ([pl.QUERY_REPLY], b"D\xff\xff\xff\xff"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_server_that_breaks_the_protocol(name: str) -> None:
    replies, sent = WRONG[name]
    server = attached(*replies)
    assert hear(server, sent) == b""
    assert server.error
    assert not server.reusable()


def test_what_came_before_the_mistake_passes() -> None:
    server = attached(pl.QUERY_REPLY)
    assert hear(server, ROW + DONE + message("?")) == ROW + DONE
    assert server.error


def test_ready_for_query_that_may_come_twice() -> None:
    server = attached(pl.EXECUTE_REPLY, pl.SYNC_REPLY)
    assert hear(server, message("G", b"\0\0\0") + ERROR + READY)
    assert not server.error
    assert not server.reusable()
    assert hear(server, message("Z")) == b""
    assert server.error


ANY_REPLY = st.sampled_from(
    [
        pl.QUERY_REPLY, pl.SYNC_REPLY, pl.FUNCTION_CALL_REPLY, pl.PARSE_REPLY, pl.BIND_REPLY,
        pl.DESCRIBE_REPLY, pl.EXECUTE_REPLY, pl.CLOSE_REPLY, pl.COPY_END_REPLY,
        pl.OWN_CLOSE_REPLY, pl.OWN_PARSE_REPLY, pl.OWN_SYNC_REPLY,
    ]
)  # fmt: skip
FRESH_REPLY = st.one_of(
    ANY_REPLY,
    st.sampled_from([pl.REPLAY, pl.SETTLE, pl.CLEAN, pl.PROBE, pl.CATALOGUE]).map(own),
    st.builds(lambda: preparing()[0]),
    st.builds(lambda: preparing()[1]),
)
ANY_MESSAGE = st.builds(
    lambda code, payload: bytes([code]) + (len(payload) + 4).to_bytes(4, "big") + payload,
    st.one_of(st.sampled_from(b"23CDEGHINATSV1sZtndc"), st.integers(0, 255)),
    st.one_of(
        st.binary(max_size=12),
        st.sampled_from(
            [b"I", b"T", text("DISCARD ALL"), text("ROLLBACK"), COLUMNS[5:], ERROR[5:]]
        ),
    ),
)


@given(st.lists(FRESH_REPLY, max_size=6), st.lists(st.one_of(ANY_MESSAGE, st.binary(max_size=9))))
@example([own(pl.SETTLE)], [message("D", b"\0\0"), READY])
@example([own(pl.SETTLE)], [message("D", b"\0\1\0\0\0\1x"), READY])
@example([own(pl.CATALOGUE)], [message("D", b"\0\2\0\0\0\1"), READY])
@example([own(pl.REPLAY)], [message("E"), READY])
@example([preparing()[1]], [message("t"), message("T", b"\0\1x")])
@example([pl.QUERY_REPLY], [message("S"), message("E"), READY])
def test_garbage_is_an_error_at_most(replies: list[Reply], sent: list[bytes]) -> None:
    server = attached(*replies)
    heard = hear(server, *sent)
    assert len(heard) <= len(b"".join(sent)) + 500


@given(st.lists(FRESH_REPLY, max_size=6), st.lists(ANY_MESSAGE), st.integers(1, 7))
def test_garbage_in_pieces_is_the_same_garbage(
    replies: list[Reply], sent: list[bytes], size: int
) -> None:
    data = b"".join(sent)
    whole = attached(*replies)
    heard_whole = hear(whole, data)
    for reply in replies:
        if reply.question is not None:
            reply.question.rows, reply.question.error = [], b""
    pieces = attached(*replies)
    heard = b""
    for start in range(0, len(data), size):
        if not pieces.error:
            heard += hear(pieces, data[start : start + size])
    assert heard == heard_whole
    assert pieces.error == whole.error


# Asynchronous messages.


def test_parameter_status_is_told_once() -> None:
    server = attached(pl.QUERY_REPLY, pl.QUERY_REPLY)
    client = server.client
    assert client is not None
    assert hear(server, DONE + STATUS + READY) == DONE + STATUS + READY
    assert server.reported["TimeZone"] == "Asia/Tokyo"
    assert client.session.reported is server.reported


def test_parameter_status_in_answer_to_us_is_told_only_if_new() -> None:
    server = attached(own(), own())
    assert hear(server, DONE + STATUS + READY) == STATUS
    assert hear(server, DONE + STATUS + READY) == b""


def test_parameter_status_while_nobody_is_there() -> None:
    shared = shared_state()
    server = server_stream(shared)
    assert hear(server, STATUS) == b""
    assert server.reported["TimeZone"] == "Asia/Tokyo"
    late = client_stream(shared)
    late.attach(server)
    late.receive(b"")
    assert late.to_client == STATUS


# Where it stands.


def test_idle_quiet_and_waiting_for_the_client() -> None:
    server = attached()
    assert server.is_idle()
    assert not server.awaits_client()
    server.pipeline.push(pl.QUERY_REPLY)
    assert not server.is_quiet()
    assert not server.awaits_client()
    hear(server, DONE + IN_BLOCK)
    assert server.is_quiet()
    assert not server.is_idle()
    assert server.in_transaction()
    assert server.awaits_client()
    server.pipeline.push(pl.QUERY_REPLY)
    hear(server, DONE + READY[:3])
    assert not server.is_quiet()
    hear(server, READY[3:])
    assert server.is_idle()
    server.unsynced = True
    assert not server.is_quiet()
    assert server.awaits_client()


def test_not_quiet_in_the_middle_of_a_notice() -> None:
    server = attached()
    long = message("N", b"x" * (HOLD_LIMIT_BYTES + 1))
    hear(server, long[:1000])
    assert not server.is_quiet()
    hear(server, long[1000:])
    assert server.is_quiet()


def test_awaits_copy_data() -> None:
    server = attached(pl.QUERY_REPLY)
    hear(server, message("G", b"\0\0\0"))
    assert server.awaits_client()
    assert not server.is_quiet()


def test_goodbye() -> None:
    assert attached().goodbye() == wire.TERMINATE
