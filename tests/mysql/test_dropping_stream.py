"""Packets that are taken out of what a client sends."""

from __future__ import annotations

import pytest

from proxy.mysql.constants import MAX_PAYLOAD_BYTES
from proxy.mysql.dropping_stream import DroppingStream
from proxy.mysql.lenenc import packet
from proxy.mysql.reframing import Reframing


@pytest.mark.parametrize("length", [1, 10, MAX_PAYLOAD_BYTES, MAX_PAYLOAD_BYTES + 5])
@pytest.mark.parametrize("size", [7000, 1 << 18])
def test_one_command_is_dropped_and_no_more(length: int, size: int) -> None:
    stream = DroppingStream()
    data = packet(bytes(length), 0)
    rest = stream.drop_command(data[:size])
    for start in range(size, len(data), size):
        rest = stream.drop(rest + data[start : start + size])
    assert stream.drop(rest + b"more") == b"more"
    assert not stream.dropping


def test_a_file_is_dropped_to_its_empty_packet() -> None:
    stream = DroppingStream()
    stream.drops_file = True
    assert stream.drop(packet(b"a", 2) + packet(b"b", 3) + packet(b"", 4) + b"next") == b"next"
    assert not stream.drops_file


def test_what_is_reframed_is_dropped_all_the_same() -> None:
    stream = DroppingStream()
    stream.reframing = Reframing(b"head", 1)
    assert stream.drop_command(packet(b"0rest", 0)[:7]) == b""
    assert stream.reframing is not None
    assert stream.drop(b"st" + b"next") == b"next"
    assert stream.take_reframed() == [packet(b"headrest", 0)]
    assert stream.take_reframed() is None
    assert stream.reframing is None
