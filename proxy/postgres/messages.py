"""Encoding and decoding of messages off the hot path: start-up, authentication, errors.

Strings are UTF-8 here. Where bytes that are not UTF-8 must pass through unharmed (settings and
errors of a server with another encoding), they travel as surrogate escapes; where they would name
a user, a database or a setting, the packet is refused.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from proxy.errors import ClientProtocolError, ServerProtocolError
from proxy.postgres.codes import (
    AUTH_CLEARTEXT_PASSWORD,
    AUTH_MD5_PASSWORD,
    AUTH_OK,
    AUTH_SASL,
    AUTH_SASL_CONTINUE,
    AUTH_SASL_FINAL,
    CANCEL_REQUEST,
    GSSENC_REQUEST,
    PROTOCOL_MAJOR,
    SSL_REQUEST,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_U32: Final = struct.Struct("!I")
_ESCAPES: Final = "surrogateescape"


def message(code: bytes, payload: bytes) -> bytes:
    """Frame a payload: type byte, length including itself, payload."""
    return code + _U32.pack(len(payload) + 4) + payload


def untyped(payload: bytes) -> bytes:
    """Frame a packet that has no type byte, as start-up packets do not."""
    return _U32.pack(len(payload) + 4) + payload


def _string(value: str) -> bytes:
    """Encode a null-terminated string; what would end it early is left out."""
    return value.encode("utf-8", _ESCAPES).replace(b"\0", b"") + b"\0"


# Start-up, sent by a client.

TLS_REQUEST_PACKET: Final = untyped(_U32.pack(SSL_REQUEST))
GSSENC_REQUEST_PACKET: Final = untyped(_U32.pack(GSSENC_REQUEST))


def startup(minor: int, parameters: Mapping[str, str]) -> bytes:
    """Encode a StartupMessage of protocol 3.``minor``."""
    pairs = b"".join(_string(name) + _string(value) for name, value in parameters.items())
    return untyped(_U32.pack(PROTOCOL_MAJOR << 16 | minor) + pairs + b"\0")


def parse_startup(packet: bytes) -> tuple[int, dict[str, str]]:
    """Decode a StartupMessage without its length: protocol version and parameters in order.

    The last of several values for one parameter counts, as in PostgreSQL. Raises
    ``ClientProtocolError`` if the layout is wrong or a string is not UTF-8.
    """
    if len(packet) < 4:
        raise ClientProtocolError("invalid length of startup packet")
    (version,) = _U32.unpack_from(packet)
    return version, _parse_parameters(packet[4:])


def _parse_parameters(data: bytes) -> dict[str, str]:
    parameters: dict[str, str] = {}
    position = 0
    while data[position : position + 1] not in (b"\0", b""):
        name, position = _take_string(data, position)
        value, position = _take_string(data, position)
        parameters[name] = value
    if position != len(data) - 1:
        raise ClientProtocolError("invalid startup packet layout: expected terminator as last byte")
    return parameters


def _take_string(data: bytes, position: int) -> tuple[str, int]:
    end = data.find(b"\0", position)
    if end < 0:
        raise ClientProtocolError("invalid startup packet layout: expected terminator as last byte")
    try:
        return data[position:end].decode(), end + 1
    except UnicodeDecodeError as error:
        raise ClientProtocolError(
            "invalid startup packet: user, database and parameters must be UTF-8"
        ) from error


def cancel_request(process_id: int, secret: bytes) -> bytes:
    """Encode a CancelRequest."""
    return untyped(struct.pack("!II", CANCEL_REQUEST, process_id) + secret)


# Authentication.


def _authentication(kind: int, payload: bytes = b"") -> bytes:
    return message(b"R", _U32.pack(kind) + payload)


AUTHENTICATION_OK: Final = _authentication(AUTH_OK)
AUTHENTICATION_CLEARTEXT_PASSWORD: Final = _authentication(AUTH_CLEARTEXT_PASSWORD)


def authentication_md5_password(salt: bytes) -> bytes:
    """Encode AuthenticationMD5Password; the salt is 4 bytes."""
    return _authentication(AUTH_MD5_PASSWORD, salt)


def authentication_sasl(mechanisms: Iterable[str]) -> bytes:
    """Encode AuthenticationSASL: the mechanisms offered, best first."""
    names = b"".join(_string(name) for name in mechanisms)
    return _authentication(AUTH_SASL, names + b"\0")


def authentication_sasl_continue(data: bytes) -> bytes:
    """Encode AuthenticationSASLContinue."""
    return _authentication(AUTH_SASL_CONTINUE, data)


def authentication_sasl_final(data: bytes) -> bytes:
    """Encode AuthenticationSASLFinal."""
    return _authentication(AUTH_SASL_FINAL, data)


def password_message(password: bytes) -> bytes:
    """Encode a PasswordMessage (clear or MD5)."""
    return message(b"p", password + b"\0")


def sasl_initial_response(mechanism: str, data: bytes) -> bytes:
    """Encode a SASLInitialResponse."""
    return message(b"p", _string(mechanism) + _U32.pack(len(data)) + data)


def sasl_response(data: bytes) -> bytes:
    """Encode a SASLResponse."""
    return message(b"p", data)


def parse_sasl_initial_response(payload: bytes) -> tuple[str, bytes | None]:
    """Decode a SASLInitialResponse: mechanism, and initial response (``None`` if there is none).

    Raises ``ClientProtocolError``.
    """
    name, terminator, rest = payload.partition(b"\0")
    if not terminator or len(rest) < 4:
        raise ClientProtocolError("invalid message format")
    (size,) = struct.unpack_from("!i", rest)
    if size == -1 and len(rest) == 4:
        return name.decode("ascii", "replace"), None
    if size != len(rest) - 4:
        raise ClientProtocolError("invalid message format")
    return name.decode("ascii", "replace"), rest[4:]


def parse_sasl_mechanisms(data: bytes) -> list[str]:
    """Decode the mechanisms of an AuthenticationSASL. Raises ``ServerProtocolError``."""
    if not data.endswith(b"\0\0") and data != b"\0":
        raise ServerProtocolError("server sent a malformed list of SASL mechanisms")
    return [name.decode("ascii", "replace") for name in data[:-1].split(b"\0") if name]


# What a server says around authentication.


def negotiate_protocol_version(minor: int, unknown_options: Iterable[str]) -> bytes:
    """Encode NegotiateProtocolVersion.

    The documentation calls the first field the minor version; PostgreSQL sends, and libpq reads,
    the whole version.
    """
    names = [_string(name) for name in unknown_options]
    header = struct.pack("!II", PROTOCOL_MAJOR << 16 | minor, len(names))
    return message(b"v", header + b"".join(names))


def parse_negotiate_protocol_version(payload: bytes) -> int:
    """Decode a NegotiateProtocolVersion's minor version. Raises ``ServerProtocolError``."""
    if len(payload) < 8:
        raise ServerProtocolError("server sent a malformed NegotiateProtocolVersion")
    (version,) = _U32.unpack_from(payload)
    if version >> 16 not in (0, PROTOCOL_MAJOR):
        raise ServerProtocolError("server negotiated an unknown protocol version")
    return int(version & 0xFFFF)


def parameter_status(name: str, value: str) -> bytes:
    """Encode a ParameterStatus."""
    return message(b"S", _string(name) + _string(value))


def parse_parameter_status(payload: bytes) -> tuple[str, str]:
    """Decode a ParameterStatus. Raises ``ServerProtocolError``."""
    parts = payload.split(b"\0")
    if len(parts) != 3 or parts[2]:
        raise ServerProtocolError("server sent a malformed ParameterStatus")
    return parts[0].decode("utf-8", _ESCAPES), parts[1].decode("utf-8", _ESCAPES)


def backend_key_data(process_id: int, secret: bytes) -> bytes:
    """Encode a BackendKeyData."""
    return message(b"K", _U32.pack(process_id) + secret)


def ready_for_query(status: bytes = b"I") -> bytes:
    """Encode a ReadyForQuery with transaction status ``I``, ``T`` or ``E``."""
    return message(b"Z", status)


def query(sql: bytes) -> bytes:
    """Encode a Query."""
    return message(b"Q", sql + b"\0")


# Errors.


def error_response(
    severity: str, sqlstate: str, text: str, *, detail: str = "", hint: str = ""
) -> bytes:
    """Encode an ErrorResponse: severity (also not localised), SQLSTATE, message."""
    fields = {"S": severity, "V": severity, "C": sqlstate, "M": text, "D": detail, "H": hint}
    encoded = b"".join(
        name.encode() + value.encode("utf-8", "backslashreplace").replace(b"\0", b"") + b"\0"
        for name, value in fields.items()
        if value or name == "M"
    )
    return message(b"E", encoded + b"\0")


def parse_error_fields(payload: bytes) -> dict[str, str]:
    """Decode an ErrorResponse's or NoticeResponse's fields by their letter; tolerates anything."""
    fields = (part for part in payload.split(b"\0") if part)
    return {part[:1].decode("latin-1"): part[1:].decode("utf-8", "replace") for part in fields}
