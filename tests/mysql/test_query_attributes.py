"""Where the text of a COM_QUERY begins."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.mysql.lenenc import lenenc, lenenc_int
from proxy.mysql.query_attributes import text_start

SQL = b"SELECT 1"


def attributes(values: list[tuple[int, bytes]], nulls: int = 0) -> bytes:
    """Encode attributes of these types and binary values, as a client does."""
    count = len(values)
    head = lenenc_int(count) + lenenc_int(1)
    if not count:
        return head
    bitmap = nulls.to_bytes((count + 7) // 8, "little")
    types = b"".join(bytes((kind, 0)) + lenenc(b"name") for kind, _ in values)
    present = [value for i, (_, value) in enumerate(values) if not nulls >> i & 1]
    return head + bitmap + b"\x01" + types + b"".join(present)


@pytest.mark.parametrize(
    "values",
    [
        [],
        [(0x08, bytes(8))],
        [(0x03, bytes(4)), (0xFE, lenenc(b"a text"))],
        [(0x06, b""), (0x01, b"\x01"), (0x0C, b"\x04\xe8\x07\x01\x01")],
        [(0x05, bytes(8))] * 9,
    ],
)
def test_text_is_found_behind_attributes(values: list[tuple[int, bytes]]) -> None:
    head = b"\x03" + attributes(values)
    assert text_start(head + SQL) == len(head)


def test_null_attributes_have_no_value() -> None:
    head = b"\x03" + attributes([(0x08, bytes(8)), (0xFE, lenenc(b"x"))], nulls=0b01)
    assert text_start(head + SQL) == len(head)


@given(st.binary(max_size=40))
def test_malformed_attributes_do_not_hide_text(payload: bytes) -> None:
    assert 1 <= text_start(b"\x03" + payload) <= max(1, len(payload) + 1)
