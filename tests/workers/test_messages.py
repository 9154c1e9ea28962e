from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import ProtocolError
from proxy.workers.messages import (
    MAX_MESSAGE_BYTES,
    CancelSession,
    Closed,
    Configure,
    Decoder,
    Drain,
    Message,
    NewClient,
    Quota,
    Usage,
    VacateDatabase,
    decode,
    encode,
)

NUMBERS = st.integers(0, 1 << 40)
KEYS = st.lists(st.tuples(st.text(), st.text(), st.just([])).map(list), max_size=3)
MESSAGES: st.SearchStrategy[Message] = st.one_of(
    st.builds(Configure, serial=NUMBERS, text=st.text()),
    st.builds(NewClient, endpoint=NUMBERS),
    st.builds(Drain, grace_s=st.floats(0, 3600)),
    st.builds(Closed, connection=NUMBERS),
    st.builds(CancelSession, proxy=st.text(), number=NUMBERS, secret=st.text()),
    st.builds(VacateDatabase, proxy=st.text(), database=st.text()),
    st.builds(
        Quota,
        proxy=st.text(),
        serial=NUMBERS,
        slots=NUMBERS,
        budget=NUMBERS,
        gently=st.booleans(),
        wanted=KEYS,
    ),
)


@given(st.lists(MESSAGES, max_size=6), st.data())
def test_messages_survive_however_the_stream_is_cut(
    messages: list[Message], data: st.DataObject
) -> None:
    stream = b"".join(map(encode, messages))
    decoder = Decoder()
    found: list[Message] = []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        found += decoder.feed(stream[:size])
        stream = stream[size:]
    assert found == messages


@given(st.binary(max_size=200))
def test_garbage_is_a_protocol_error_or_incomplete(data: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        assert Decoder().feed(data) == []


@pytest.mark.parametrize(
    "document",
    [
        [],
        {},
        {"type": "Message"},
        {"type": "Nosuch"},
        {"type": "Closed"},
        {"type": "Closed", "connection": 1, "more": 2},
    ],
)
def test_documents_that_are_no_messages(document: object) -> None:
    with pytest.raises(ProtocolError):
        decode(json.dumps(document).encode())


def test_a_length_beyond_the_limit_is_refused_before_it_is_read() -> None:
    with pytest.raises(ProtocolError, match="too long"):
        Decoder().feed((MAX_MESSAGE_BYTES + 1).to_bytes(4, "big"))


def test_secrets_are_not_lost_to_json() -> None:
    message = Configure(1, 'credential = "static:pass\\u0000 ütf"')
    assert decode(encode(message)[4:]) == message


def test_usage_has_every_field_that_the_ledger_needs() -> None:
    usage = Usage("main", 1, 2, 3, 4, 5, 6, [["db", "user", []]], 7, 8)
    assert decode(encode(usage)[4:]) == usage
