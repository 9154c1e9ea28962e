"""Messages off the hot path: round trips, and all that can be wrong with a start-up packet."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import ClientProtocolError, ServerProtocolError
from proxy.postgres import messages
from tests.support import messages as wire

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)
VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
V3 = struct.pack("!I", wire.PROTOCOL_3_0)


@given(st.dictionaries(NAMES, VALUES), st.sampled_from([0, 2]))
def test_startup_round_trip(parameters: dict[str, str], minor: int) -> None:
    encoded = messages.startup(minor, parameters)
    assert encoded == wire.startup(parameters, wire.PROTOCOL_3_0 + minor)
    version, decoded = messages.parse_startup(encoded[4:])
    assert version == wire.PROTOCOL_3_0 + minor
    assert list(decoded.items()) == list(parameters.items())


def test_last_of_several_values_counts() -> None:
    packet = V3 + b"user\0one\0a\0b\0user\0two\0\0"
    assert messages.parse_startup(packet) == (wire.PROTOCOL_3_0, {"user": "two", "a": "b"})


@pytest.mark.parametrize(
    "body",
    [b"", b"user\0app", b"user\0app\0", b"user\0\0", b"user\0app\0\0more\0", b"\0\0", b"user\0"],
)
def test_wrong_layout(body: bytes) -> None:
    with pytest.raises(ClientProtocolError, match="expected terminator as last byte"):
        messages.parse_startup(V3 + body)


@pytest.mark.parametrize("body", [b"user\0\xff\0\0", b"\xc3\0x\0\0", b"user\0\xed\xa0\x80\0\0"])
def test_not_utf_8(body: bytes) -> None:
    with pytest.raises(ClientProtocolError, match="UTF-8"):
        messages.parse_startup(V3 + body)


@given(st.binary(max_size=64))
def test_any_startup_packet_is_decoded_or_refused(packet: bytes) -> None:
    try:
        _, parameters = messages.parse_startup(packet)
    except ClientProtocolError:
        return
    assert len(packet) >= 5
    assert "" not in parameters


def test_error_response() -> None:
    encoded = messages.error_response("FATAL", "08P01", "bad\0 message", detail="why", hint="do")
    read = wire.Message(chr(encoded[0]), encoded[5:])
    assert struct.unpack_from("!I", encoded, 1) == (len(encoded) - 1,)
    assert read.fields == {
        "S": "FATAL",
        "V": "FATAL",
        "C": "08P01",
        "M": "bad message",
        "D": "why",
        "H": "do",
    }
    assert messages.parse_error_fields(encoded[5:]) == read.fields
    assert b"D" not in messages.error_response("ERROR", "XX000", "x")[5:]


@given(st.binary(max_size=200))
def test_error_fields_are_read_from_anything(payload: bytes) -> None:
    for name, value in messages.parse_error_fields(payload).items():
        assert len(name) == 1
        assert "\0" not in value


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0")), st.binary())
def test_parameter_status_round_trip(name: str, raw: bytes) -> None:
    value = raw.replace(b"\0", b"").decode("utf-8", "surrogateescape")
    encoded = messages.parameter_status(name, value)
    assert encoded[:1] == b"S"
    assert messages.parse_parameter_status(encoded[5:]) == (name, value)


@pytest.mark.parametrize("payload", [b"", b"a", b"a\0", b"a\0b", b"a\0b\0c", b"a\0b\0c\0"])
def test_malformed_parameter_status(payload: bytes) -> None:
    with pytest.raises(ServerProtocolError):
        messages.parse_parameter_status(payload)


def test_fixed_messages() -> None:
    assert messages.AUTHENTICATION_OK == b"R\0\0\0\x08\0\0\0\0"
    assert messages.TLS_REQUEST_PACKET == wire.SSL_REQUEST
    assert messages.GSSENC_REQUEST_PACKET == wire.GSS_REQUEST
    assert messages.ready_for_query() == b"Z\0\0\0\x05I"
    assert messages.query(b"SELECT 1") == wire.query("SELECT 1")
    assert messages.cancel_request(7, b"secret") == wire.cancel(7, b"secret")
    assert messages.backend_key_data(7, b"1234") == wire.message("K", b"\0\0\0\x071234")
    negotiated = messages.negotiate_protocol_version(2, ["_pq_.a", "_pq_.b"])
    assert negotiated == wire.message("v", b"\0\3\0\2\0\0\0\2_pq_.a\0_pq_.b\0")
    assert messages.parse_negotiate_protocol_version(negotiated[5:]) == 2


@pytest.mark.parametrize("payload", [b"", b"\0\3\0\0", b"\0\4\0\0\0\0\0\0"])
def test_malformed_negotiation(payload: bytes) -> None:
    with pytest.raises(ServerProtocolError):
        messages.parse_negotiate_protocol_version(payload)


@given(st.sampled_from(["SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"]), st.binary(max_size=50))
def test_sasl_initial_response_round_trip(mechanism: str, data: bytes) -> None:
    encoded = messages.sasl_initial_response(mechanism, data)
    assert messages.parse_sasl_initial_response(encoded[5:]) == (mechanism, data)


def test_sasl_initial_response_without_data() -> None:
    assert messages.parse_sasl_initial_response(b"X\0\xff\xff\xff\xff") == ("X", None)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"X",
        b"X\0",
        b"X\0\0\0\0\5abcd",
        b"X\0\0\0\0\1ab",
        b"X\0\xff\xff\xff\xffa",
        b"X\0\x80\0\0\0",
    ],
)
def test_malformed_sasl_initial_response(payload: bytes) -> None:
    with pytest.raises(ClientProtocolError):
        messages.parse_sasl_initial_response(payload)


def test_sasl_mechanisms() -> None:
    encoded = messages.authentication_sasl(["A", "B"])
    assert encoded == wire.message("R", b"\0\0\0\x0aA\0B\0\0")
    assert messages.parse_sasl_mechanisms(encoded[9:]) == ["A", "B"]
    assert messages.parse_sasl_mechanisms(b"\0") == []
    for malformed in (b"", b"A", b"A\0"):
        with pytest.raises(ServerProtocolError):
            messages.parse_sasl_mechanisms(malformed)
