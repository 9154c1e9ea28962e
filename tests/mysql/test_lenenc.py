"""Length-encoded integers, strings and packets: what is written is read, what is cut is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import ProtocolError
from proxy.mysql import lenenc
from proxy.mysql.constants import MAX_PAYLOAD_BYTES


@given(st.integers(0, 2**64 - 1), st.binary(max_size=4))
def test_an_integer_is_read_as_it_was_written(value: int, behind: bytes) -> None:
    encoded = lenenc.lenenc_int(value)
    assert lenenc.read_lenenc_int(encoded + behind, 0) == (value, len(encoded))


@pytest.mark.parametrize(
    ("value", "size"), [(250, 1), (251, 3), (65535, 3), (65536, 4), (1 << 24, 9)]
)
def test_an_integer_takes_as_few_bytes_as_it_can(value: int, size: int) -> None:
    assert len(lenenc.lenenc_int(value)) == size


@given(st.binary(max_size=300), st.data())
def test_a_string_that_is_cut_is_refused(value: bytes, data: st.DataObject) -> None:
    encoded = lenenc.lenenc(value)
    assert lenenc.read_lenenc(encoded, 0) == (value, len(encoded))
    cut = data.draw(st.integers(0, len(encoded) - 1))
    with pytest.raises(ProtocolError):
        lenenc.read_lenenc(encoded[:cut], 0)


@pytest.mark.parametrize("first", [0xFB, 0xFF])
def test_null_and_err_are_no_integers(first: int) -> None:
    with pytest.raises(ProtocolError):
        lenenc.read_lenenc_int(bytes((first,)) * 9, 0)


def test_a_null_terminated_string_needs_its_nul() -> None:
    assert lenenc.read_null_terminated(b"ab\0c", 0) == (b"ab", 3)
    with pytest.raises(ProtocolError):
        lenenc.read_null_terminated(b"ab", 0)


@pytest.mark.parametrize("extra", [-1, 0, 1, MAX_PAYLOAD_BYTES])
def test_a_long_payload_goes_in_several_packets(extra: int) -> None:
    payload = b"x" * (MAX_PAYLOAD_BYTES + extra)
    data = lenenc.packet(payload, 255)
    sizes, sequences, position = [], [], 0
    while position < len(data):
        sizes.append(int.from_bytes(data[position : position + 3], "little"))
        sequences.append(data[position + 3])
        position += 4 + sizes[-1]
    assert sum(sizes) == len(payload)
    assert sizes[-1] < MAX_PAYLOAD_BYTES
    assert all(size == MAX_PAYLOAD_BYTES for size in sizes[:-1])
    assert sequences == [(255 + number) % 256 for number in range(len(sizes))]
