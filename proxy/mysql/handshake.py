"""Messages of the connection phase (source documentation, "Connection Phase Packets").

MariaDB's differ in this: a server that does not offer CLIENT_LONG_PASSWORD, which it calls
CLIENT_MYSQL, says capabilities 32 to 63 in what MySQL reserves, and so does a client that does not
ask for it.

``read_...`` take a payload and raise ``ProtocolError`` where it is malformed. What some clients
leave out at the end (the NUL behind the last name) is not missed, as servers do not miss it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from proxy.errors import ProtocolError
from proxy.mysql.auth import SIGNING
from proxy.mysql.constants import (
    AUTH_MORE_DATA,
    CLIENT_CONNECT_ATTRS,
    CLIENT_CONNECT_WITH_DB,
    CLIENT_LONG_PASSWORD,
    CLIENT_PLUGIN_AUTH,
    CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA,
    CLIENT_SECURE_CONNECTION,
    COM_CHANGE_USER,
    EOF,
)
from proxy.mysql.lenenc import (
    lenenc,
    lenenc_int,
    read_bytes,
    read_int,
    read_lenenc,
    read_null_terminated,
)

PROTOCOL_VERSION: Final = 10
NONCE_BYTES: Final = 20
_LOW: Final = 0xFFFFFFFF
_FIRST_NONCE_BYTES: Final = 8
_SSL_REQUEST_BYTES: Final = 32
_RESERVED_BYTES: Final = 23


@dataclass(frozen=True, slots=True)
class HandshakeV10:
    """How a server greets."""

    server_version: str
    thread_id: int
    nonce: bytes
    """``NONCE_BYTES`` for passwords to be scrambled with; none of them 0."""
    capabilities: int
    """64 bits: MariaDB's own are the upper half."""
    collation: int
    """Low byte of the id of the default collation."""
    status: int
    plugin: str
    """Default authentication plugin; empty without CLIENT_PLUGIN_AUTH."""


@dataclass(frozen=True, slots=True)
class HandshakeResponse41:
    """What a client answers."""

    capabilities: int
    """64 bits: MariaDB's own are the upper half."""
    max_packet_bytes: int
    collation: int
    """Low byte of a collation's id."""
    user: bytes
    auth_response: bytes
    database: bytes
    plugin: str
    """Empty without CLIENT_PLUGIN_AUTH."""
    attributes: bytes
    """Length-encoded names and values, as they came."""


@dataclass(frozen=True, slots=True)
class AuthSwitchRequest:
    """Go on with another plugin."""

    plugin: str
    data: bytes
    """The nonce, without the NUL behind it, which plugins that sign have none of."""


@dataclass(frozen=True, slots=True)
class ChangeUser:
    """COM_CHANGE_USER."""

    user: bytes
    auth_response: bytes
    database: bytes
    collation: int
    """0 where the client does not say."""
    plugin: str
    attributes: bytes


def _name(raw: bytes) -> str:
    return raw.decode("latin-1")


def _maybe_terminated(payload: bytes, position: int) -> tuple[bytes, int]:
    """Read up to a NUL, or the end."""
    end = payload.find(b"\0", position)
    return (payload[position:], len(payload)) if end < 0 else (payload[position:end], end + 1)


def read_handshake(payload: bytes) -> HandshakeV10:
    """Read a server's greeting."""
    if not payload or payload[0] != PROTOCOL_VERSION:
        raise ProtocolError("not a greeting of protocol 10")
    version, position = read_null_terminated(payload, 1)
    thread_id, position = read_int(payload, position, 4)
    nonce, position = read_bytes(payload, position, _FIRST_NONCE_BYTES)
    capabilities, position = read_int(payload, position + 1, 2)
    collation, position = read_int(payload, position, 1)
    status, position = read_int(payload, position, 2)
    upper, position = read_int(payload, position, 2)
    capabilities |= upper << 16
    nonce_size, position = read_int(payload, position, 1)
    extended, position = read_int(payload, position + 6, 4)
    if not capabilities & CLIENT_LONG_PASSWORD:
        capabilities |= extended << 32
    rest, position = read_bytes(payload, position, max(13, nonce_size - _FIRST_NONCE_BYTES))
    plugin = b""
    if capabilities & CLIENT_PLUGIN_AUTH:
        plugin, position = _maybe_terminated(payload, position)
    return HandshakeV10(
        server_version=version.decode("utf-8", "replace"),
        thread_id=thread_id,
        nonce=(nonce + rest)[:NONCE_BYTES],
        capabilities=capabilities,
        collation=collation,
        status=status,
        plugin=_name(plugin),
    )


def handshake_payload(greeting: HandshakeV10) -> bytes:
    """Encode a server's greeting."""
    low = (greeting.capabilities & _LOW).to_bytes(4, "little")
    extended = 0
    if not greeting.capabilities & CLIENT_LONG_PASSWORD:
        extended = greeting.capabilities >> 32
    plugin = b""
    if greeting.capabilities & CLIENT_PLUGIN_AUTH:
        plugin = greeting.plugin.encode("latin-1") + b"\0"
    return b"".join(
        (
            bytes((PROTOCOL_VERSION,)),
            greeting.server_version.encode("utf-8", "replace"),
            b"\0",
            greeting.thread_id.to_bytes(4, "little"),
            greeting.nonce[:_FIRST_NONCE_BYTES],
            b"\0",
            low[:2],
            bytes((greeting.collation & 0xFF,)),
            greeting.status.to_bytes(2, "little"),
            low[2:],
            bytes((NONCE_BYTES + 1 if plugin else 0,)),
            bytes(6),
            extended.to_bytes(4, "little"),
            greeting.nonce[_FIRST_NONCE_BYTES:],
            b"\0",
            plugin,
        )
    )


def is_ssl_request(payload: bytes) -> bool:
    """Whether this, from a client that asks for CLIENT_SSL, is the first part of its response."""
    return len(payload) == _SSL_REQUEST_BYTES


def ssl_request_payload(capabilities: int, max_packet_bytes: int, collation: int) -> bytes:
    """Encode an SSLRequest, which is how a response begins as well."""
    extended = (
        b"" if capabilities & CLIENT_LONG_PASSWORD else (capabilities >> 32).to_bytes(4, "little")
    )
    return (
        (capabilities & _LOW).to_bytes(4, "little")
        + max_packet_bytes.to_bytes(4, "little")
        + bytes((collation & 0xFF,))
        + bytes(_RESERVED_BYTES - len(extended))
        + extended
    )


def read_capabilities(payload: bytes) -> int:
    """Read the capabilities that an SSLRequest or a response begins with."""
    low, _ = read_int(payload, 0, 4)
    if low & CLIENT_LONG_PASSWORD or len(payload) < _SSL_REQUEST_BYTES:
        return low
    extended, _ = read_int(payload, _SSL_REQUEST_BYTES - 4, 4)
    return low | extended << 32


def read_response(payload: bytes) -> HandshakeResponse41:
    """Read a client's response: its capabilities say what is in it."""
    capabilities = read_capabilities(payload)
    max_packet_bytes, position = read_int(payload, 4, 4)
    collation, position = read_int(payload, position, 1)
    _, position = read_bytes(payload, position, _RESERVED_BYTES)
    user, position = _maybe_terminated(payload, position)
    auth_response, position = _read_auth_response(payload, position, capabilities)
    database = plugin = b""
    if capabilities & CLIENT_CONNECT_WITH_DB:
        database, position = _maybe_terminated(payload, position)
    if capabilities & CLIENT_PLUGIN_AUTH:
        plugin, position = _maybe_terminated(payload, position)
    return HandshakeResponse41(
        capabilities=capabilities,
        max_packet_bytes=max_packet_bytes,
        collation=collation,
        user=user,
        auth_response=auth_response,
        database=database,
        plugin=_name(plugin),
        attributes=_read_attributes(payload, position, capabilities),
    )


def _read_auth_response(payload: bytes, position: int, capabilities: int) -> tuple[bytes, int]:
    if position >= len(payload):
        return b"", position
    if capabilities & CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA:
        return read_lenenc(payload, position)
    if capabilities & CLIENT_SECURE_CONNECTION:
        size, position = read_int(payload, position, 1)
        return read_bytes(payload, position, size)
    return read_null_terminated(payload, position)


def _read_attributes(payload: bytes, position: int, capabilities: int) -> bytes:
    if not capabilities & CLIENT_CONNECT_ATTRS or position >= len(payload):
        return b""
    return read_lenenc(payload, position)[0]


def response_payload(response: HandshakeResponse41) -> bytes:
    """Encode a client's response."""
    capabilities = response.capabilities
    parts = [
        ssl_request_payload(capabilities, response.max_packet_bytes, response.collation),
        response.user,
        b"\0",
    ]
    if capabilities & CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA:
        parts.append(lenenc(response.auth_response))
    else:
        parts += [bytes((len(response.auth_response),)), response.auth_response]
    if capabilities & CLIENT_CONNECT_WITH_DB:
        parts += [response.database, b"\0"]
    if capabilities & CLIENT_PLUGIN_AUTH:
        parts += [response.plugin.encode("latin-1"), b"\0"]
    if capabilities & CLIENT_CONNECT_ATTRS:
        parts.append(lenenc(response.attributes))
    return b"".join(parts)


def attributes_payload(attributes: dict[str, str]) -> bytes:
    """Encode connection attributes, without their whole length."""
    return b"".join(lenenc(text.encode()) for attribute in attributes.items() for text in attribute)


def read_auth_switch(payload: bytes) -> AuthSwitchRequest:
    """Read an AuthSwitchRequest."""
    if len(payload) < 2 or payload[0] != EOF:
        raise ProtocolError("malformed AuthSwitchRequest")
    plugin, position = read_null_terminated(payload, 1)
    name, data = _name(plugin), payload[position:]
    return AuthSwitchRequest(name, data if name in SIGNING else data.removesuffix(b"\0"))


def auth_switch_payload(request: AuthSwitchRequest) -> bytes:
    """Encode an AuthSwitchRequest."""
    end = b"" if request.plugin in SIGNING else b"\0"
    return bytes((EOF,)) + request.plugin.encode("latin-1") + b"\0" + request.data + end


def auth_more_data_payload(data: bytes) -> bytes:
    """Encode an AuthMoreData."""
    return bytes((AUTH_MORE_DATA,)) + data


def read_change_user(payload: bytes, capabilities: int) -> ChangeUser:
    """Read a COM_CHANGE_USER of a client with these capabilities."""
    if not payload or payload[0] != COM_CHANGE_USER:
        raise ProtocolError("malformed COM_CHANGE_USER")
    user, position = read_null_terminated(payload, 1)
    if capabilities & CLIENT_SECURE_CONNECTION:
        size, position = read_int(payload, position, 1)
        auth_response, position = read_bytes(payload, position, size)
    else:
        auth_response, position = read_null_terminated(payload, position)
    database, position = _maybe_terminated(payload, position)
    collation, plugin = 0, b""
    if position + 2 <= len(payload):
        collation, position = read_int(payload, position, 2)
        if capabilities & CLIENT_PLUGIN_AUTH:
            plugin, position = _maybe_terminated(payload, position)
    return ChangeUser(
        user=user,
        auth_response=auth_response,
        database=database,
        collation=collation,
        plugin=_name(plugin),
        attributes=_read_attributes(payload, position, capabilities),
    )


def change_user_payload(message: ChangeUser, capabilities: int) -> bytes:
    """Encode a COM_CHANGE_USER; ``auth_response`` has at most 255 bytes."""
    parts = [
        bytes((COM_CHANGE_USER,)),
        message.user,
        b"\0",
        bytes((len(message.auth_response),)),
        message.auth_response,
        message.database,
        b"\0",
        message.collation.to_bytes(2, "little"),
    ]
    if capabilities & CLIENT_PLUGIN_AUTH:
        parts += [message.plugin.encode("latin-1"), b"\0"]
    if capabilities & CLIENT_CONNECT_ATTRS:
        parts += [lenenc_int(len(message.attributes)), message.attributes]
    return b"".join(parts)
