"""Rows of the text protocol."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import ProtocolError
from proxy.mysql.lenenc import lenenc
from proxy.mysql.text_rows import text_row


@given(st.lists(st.none() | st.binary(max_size=300), max_size=8))
def test_what_a_server_writes_is_read(values: list[bytes | None]) -> None:
    payload = b"".join(b"\xfb" if value is None else lenenc(value) for value in values)
    assert text_row(payload) == values


def test_a_cut_row_is_refused() -> None:
    with pytest.raises(ProtocolError):
        text_row(b"\x05abc")
