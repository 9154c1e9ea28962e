"""Messages of the connection phase: what is written is read, what is cut is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import ProtocolError
from proxy.mysql import handshake as wire
from proxy.mysql.constants import (
    CLIENT_CONNECT_ATTRS,
    CLIENT_CONNECT_WITH_DB,
    CLIENT_LONG_PASSWORD,
    CLIENT_PLUGIN_AUTH,
    CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA,
    CLIENT_PROTOCOL_41,
    CLIENT_SECURE_CONNECTION,
)

ALL = (
    CLIENT_PROTOCOL_41
    | CLIENT_SECURE_CONNECTION
    | CLIENT_PLUGIN_AUTH
    | CLIENT_CONNECT_WITH_DB
    | CLIENT_CONNECT_ATTRS
)
NAMES = st.text(st.characters(codec="ascii", exclude_characters="\0"), max_size=20)
TEXTS = st.binary(max_size=40).map(lambda raw: raw.replace(b"\0", b""))
CAPABILITIES = st.sampled_from(
    [
        ALL | CLIENT_LONG_PASSWORD,
        ALL | CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA | CLIENT_LONG_PASSWORD,
        ALL | CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA | 5 << 33,
    ]
)


@given(
    st.builds(
        wire.HandshakeV10,
        server_version=NAMES,
        thread_id=st.integers(0, 2**32 - 1),
        nonce=st.binary(min_size=20, max_size=20),
        capabilities=CAPABILITIES,
        collation=st.integers(0, 255),
        status=st.integers(0, 0xFFFF),
        plugin=NAMES,
    )
)
def test_a_greeting_is_read_as_it_was_written(greeting: wire.HandshakeV10) -> None:
    assert wire.read_handshake(wire.handshake_payload(greeting)) == greeting


RESPONSES = st.builds(
    wire.HandshakeResponse41,
    capabilities=CAPABILITIES,
    max_packet_bytes=st.integers(0, 2**32 - 1),
    collation=st.integers(0, 255),
    user=TEXTS,
    auth_response=st.binary(max_size=255),
    database=TEXTS,
    plugin=NAMES,
    attributes=st.binary(max_size=300),
)


@given(RESPONSES)
def test_a_response_is_read_as_it_was_written(response: wire.HandshakeResponse41) -> None:
    payload = wire.response_payload(response)
    assert wire.read_response(payload) == response
    assert wire.read_capabilities(payload) == response.capabilities


@given(RESPONSES, st.data())
def test_a_response_that_is_cut_is_refused_or_read(
    response: wire.HandshakeResponse41, data: st.DataObject
) -> None:
    payload = wire.response_payload(response)
    cut = payload[: data.draw(st.integers(0, len(payload) - 1))]
    try:
        wire.read_response(cut)
    except ProtocolError:
        return
    assert len(cut) >= 32


@given(st.binary(max_size=120), CAPABILITIES)
def test_any_bytes_are_read_or_refused(payload: bytes, capabilities: int) -> None:
    for read in (wire.read_handshake, wire.read_response, wire.read_auth_switch):
        try:
            read(payload)
        except ProtocolError:
            continue
    try:
        wire.read_change_user(b"\x11" + payload, capabilities)
    except ProtocolError:
        return


def test_the_first_part_of_a_response_is_the_request_for_tls() -> None:
    request = wire.ssl_request_payload(ALL | 5 << 33, 1 << 24, 45)
    assert wire.is_ssl_request(request)
    assert wire.read_capabilities(request) == ALL | 5 << 33


@pytest.mark.parametrize("data", [b"12345678901234567890", b""])
def test_a_switch_of_plugins_is_read_as_it_was_written(data: bytes) -> None:
    request = wire.AuthSwitchRequest("mysql_native_password", data)
    assert wire.read_auth_switch(wire.auth_switch_payload(request)) == request


def test_more_data_has_a_header() -> None:
    assert wire.auth_more_data_payload(b"\x03") == b"\x01\x03"


@given(
    st.builds(
        wire.ChangeUser,
        user=TEXTS,
        auth_response=st.binary(max_size=255),
        database=TEXTS,
        collation=st.integers(0, 0xFFFF),
        plugin=NAMES,
        attributes=st.binary(max_size=300),
    )
)
def test_a_change_of_user_is_read_as_it_was_written(message: wire.ChangeUser) -> None:
    assert wire.read_change_user(wire.change_user_payload(message, ALL), ALL) == message


def test_attributes_are_names_and_values() -> None:
    assert wire.attributes_payload({"a": "bc", "d": ""}) == b"\x01a\x02bc\x01d\x00"
