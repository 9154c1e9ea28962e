"""Parameter types within COM_STMT_EXECUTE and COM_STMT_BULK_EXECUTE."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from proxy.mysql.binary_protocol import execute_types, with_types
from proxy.mysql.lenenc import lenenc

HEAD = struct.pack("<BIBI", 0x17, 5, 0, 1)
TYPES = b"\x08\x00\xfe\x00"
VALUES = struct.pack("<q", 7) + lenenc(b"seven")


def test_types_are_found() -> None:
    place = execute_types(HEAD + b"\x00\x01" + TYPES + VALUES, 2, attributes=False)
    assert place is not None
    assert place.types == TYPES


def test_types_that_were_left_out_are_put_in() -> None:
    short = HEAD + b"\x00\x00" + VALUES
    place = execute_types(short, 2, attributes=False)
    assert place is not None
    assert place.types is None
    assert with_types(short, place, TYPES) == HEAD + b"\x00\x01" + TYPES + VALUES


def test_types_with_names_of_attributes() -> None:
    head = struct.pack("<BIBI", 0x17, 5, 8, 1) + b"\x01"
    types = b"\x08\x00" + lenenc(b"name")
    place = execute_types(head + b"\x00\x01" + types + bytes(8), 1, attributes=True)
    assert place is not None
    assert place.types == types


def test_bulk_types() -> None:
    head = struct.pack("<BI", 0xFA, 5)
    full = head + struct.pack("<H", 128) + TYPES + b"\x00" + VALUES
    place = execute_types(full, 2, attributes=False)
    assert place is not None
    assert place.types == TYPES
    short = head + struct.pack("<H", 0) + b"\x00" + VALUES
    place = execute_types(short, 2, attributes=False)
    assert place is not None
    assert with_types(short, place, TYPES) == full


def test_no_parameters_have_no_types() -> None:
    assert execute_types(HEAD, 0, attributes=False) is None


@given(st.binary(max_size=30), st.integers(0, 20), st.booleans())
def test_malformed_commands_are_left_to_the_server(
    rest: bytes, parameters: int, attributes: bool
) -> None:
    place = execute_types(b"\x17" + rest, parameters, attributes=attributes)
    assert place is None or place.types is None or place.types in rest
