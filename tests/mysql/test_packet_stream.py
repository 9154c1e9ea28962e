"""Packets of a server, cut anywhere, whatever their size, and those that are none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.mysql.constants import MAX_PAYLOAD_BYTES
from proxy.mysql.lenenc import lenenc, packet
from tests.mysql.streams import (
    BOTH,
    answer,
    attached,
    end,
    ok,
    result,
)
from tests.support import mysql_messages as wire

REPLY = result([b"one", b"two"], status=2 | 8) + result([], first=6, status=10) + ok(9)


@given(st.lists(st.integers(0, 400), max_size=6))
def test_a_client_like_us_gets_what_the_server_sent(cuts: list[int]) -> None:
    server = attached(wire.BASE | BOTH)
    assert answer(server, REPLY, cuts) == REPLY
    assert server.is_idle()


def test_rows_of_16_mib_and_more_pass_through() -> None:
    server = attached(wire.BASE | BOTH)
    row = lenenc(b"x" * (MAX_PAYLOAD_BYTES + 5))
    reply = packet(b"\x01", 1) + packet(b"def" + bytes(20), 2) + packet(row, 3) + end(5)
    assert answer(server, reply, [30, 1 << 20, MAX_PAYLOAD_BYTES + 20]) == reply
    assert server.is_idle()


def test_a_row_that_is_one_full_packet_is_continued_by_an_empty_one() -> None:
    server = attached(wire.BASE | BOTH)
    row = b"\xfd" + (MAX_PAYLOAD_BYTES - 4).to_bytes(3, "little") + bytes(MAX_PAYLOAD_BYTES - 4)
    reply = packet(b"\x01", 1) + packet(b"def" + bytes(20), 2) + packet(row, 3) + end(5)
    assert answer(server, reply, []) == reply
    assert server.is_idle()


@pytest.mark.parametrize(
    "reply",
    [
        b"\0\0\0\x01",
        packet(b"\0\x01", 1),
        packet(b"\xfc", 1),
        packet(b"\0\0\0\x02\0\0\0", 1) + packet(b"\0\0\0\x02\0\0\0", 2),
        b"\xff\xff\x7f\x01\x00",
    ],
)
def test_a_server_that_lies_is_found_out(reply: bytes) -> None:
    server = attached(wire.BASE)
    server.receive(reply)
    assert server.error


@given(st.binary(max_size=60))
def test_garbage_never_raises(reply: bytes) -> None:
    server = attached(wire.BASE)
    server.receive(reply)
