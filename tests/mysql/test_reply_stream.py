"""Replies of a server, cut anywhere, for clients with any capabilities."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.mysql.lenenc import packet
from tests.mysql.streams import (
    BOTH,
    answer,
    attached,
    command,
    end,
    err,
    ok,
    result,
    variable,
)
from tests.support import mysql_messages as wire
from tests.support.mysql_relay import read_packets

REPLY = result([b"one", b"two"], status=2 | 8) + result([], first=6, status=10) + ok(9)


@given(st.lists(st.integers(0, 400), max_size=6))
def test_eof_packets_are_put_in_and_sequence_ids_shifted(cuts: list[int]) -> None:
    server = attached(wire.BASE | wire.SESSION_TRACK)
    found = read_packets(answer(server, REPLY, cuts))
    assert [found[i].sequence for i in range(len(found))] == list(range(1, 12))
    kinds = [(p.payload[0], len(p.payload)) for p in found]
    assert [i for i, (first, size) in enumerate(kinds) if (first, size) == (0xFE, 5)] == [
        2,
        5,
        8,
        9,
    ]
    assert server.is_idle()


def test_the_flags_of_a_short_result_are_in_its_first_eof() -> None:
    server = attached(wire.BASE)
    found = read_packets(answer(server, result([b"x"], status=0x22), []))
    assert found[2].payload == b"\xfe\0\0\x22\0"


@pytest.mark.parametrize("capabilities", [wire.BASE, wire.BASE | wire.DEPRECATE_EOF])
def test_session_state_is_kept_from_clients_that_do_not_track(capabilities: int) -> None:
    server = attached(capabilities)
    assert answer(server, ok(track=variable("autocommit", "ON")), []) == ok()


def test_session_state_that_nobody_asked_for_is_left_out() -> None:
    server = attached(wire.BASE | BOTH)
    track = variable("sql_mode", "ANSI")
    wanted = variable("autocommit", "ON")
    assert answer(server, ok(track=track + wanted), []) == ok(track=wanted)


def test_an_error_ends_a_reply_in_the_middle() -> None:
    server = attached(wire.BASE)
    cut = result([b"one"])[: -len(end(4))] + err(4)
    found = read_packets(answer(server, cut, []))
    assert found[-1].payload[0] == 0xFF
    assert found[-1].sequence == 5
    assert server.is_quiet()


def test_a_farewell_is_passed_on() -> None:
    server = attached(wire.BASE)
    answer(server, ok(status=3), [])
    server.receive(err(0, 1053))
    assert server.farewell
    assert server.to_client == err(0, 1053)


def test_definitions_of_a_field_list() -> None:
    server = attached(wire.BASE, command(0x04, b"t\0"))
    column = packet(b"\x03def" + bytes(20), 1)
    assert answer(server, column + end(2), []) == column + packet(b"\xfe\0\0\x02\0", 2)


def test_a_line_of_statistics() -> None:
    server = attached(wire.BASE, command(0x09))
    assert answer(server, packet(b"Uptime: 1", 1), []) == packet(b"Uptime: 1", 1)
    assert server.is_idle()
