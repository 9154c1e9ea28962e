"""Packets of the MySQL protocol as a client writes and reads them, written apart from the proxy's.

Source: MySQL's source documentation, "Client/Server Protocol"; MariaDB's where it differs.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

LONG_PASSWORD, FOUND_ROWS, LONG_FLAG, WITH_DB = 1, 2, 4, 8
LOCAL_FILES, PROTOCOL_41, SSL, TRANSACTIONS = 1 << 7, 1 << 9, 1 << 11, 1 << 13
SECURE_CONNECTION, MULTI_STATEMENTS, MULTI_RESULTS = 1 << 15, 1 << 16, 1 << 17
PS_MULTI_RESULTS, PLUGIN_AUTH = 1 << 18, 1 << 19
SESSION_TRACK, DEPRECATE_EOF = 1 << 23, 1 << 24
BASE = (
    LONG_PASSWORD
    | LONG_FLAG
    | LOCAL_FILES
    | PROTOCOL_41
    | TRANSACTIONS
    | SECURE_CONNECTION
    | MULTI_STATEMENTS
    | MULTI_RESULTS
    | PS_MULTI_RESULTS
    | PLUGIN_AUTH
)
"""What every client here has: the choices are SESSION_TRACK and DEPRECATE_EOF."""

QUIT, INIT_DB, QUERY, FIELD_LIST, STATISTICS = 0x01, 0x02, 0x03, 0x04, 0x09
DEBUG, PING, CHANGE_USER = 0x0D, 0x0E, 0x11
PREPARE, EXECUTE, LONG_DATA, CLOSE, RESET = 0x16, 0x17, 0x18, 0x19, 0x1A
SET_OPTION, FETCH, RESET_CONNECTION = 0x1B, 0x1C, 0x1F

IN_TRANSACTION, AUTOCOMMIT, MORE_RESULTS, CURSOR_EXISTS = 1, 2, 8, 0x40
OUT_PARAMETERS = 0x1000
MAX_PAYLOAD = 0xFFFFFF


@dataclass(frozen=True, slots=True)
class Packet:
    """A payload, put together if it came in several packets, and the first one's sequence id."""

    sequence: int
    payload: bytes

    @property
    def error(self) -> bool:
        """Whether it is an ERR packet."""
        return self.payload[:1] == b"\xff"

    @property
    def errno(self) -> int:
        """The code of an ERR packet."""
        return int.from_bytes(self.payload[1:3], "little")

    @property
    def ends_rows(self) -> bool:
        """Whether it is an EOF packet, or the OK packet in its place."""
        return self.payload[:1] == b"\xfe" and len(self.payload) < MAX_PAYLOAD


@dataclass(frozen=True, slots=True)
class Greeting:
    """The fields of HandshakeV10 that a client needs."""

    version: str
    connection_id: int
    salt: bytes
    capabilities: int
    plugin: str


def read_lenenc(payload: bytes, position: int) -> tuple[int, int]:
    """Read a length-encoded integer; gives it and the position behind it."""
    first = payload[position]
    size = {0xFC: 2, 0xFD: 3, 0xFE: 8}.get(first, 0)
    if not size:
        return first, position + 1
    end = position + 1 + size
    return int.from_bytes(payload[position + 1 : end], "little"), end


def lenenc(data: bytes) -> bytes:
    """Encode a length-encoded string."""
    size = len(data)
    if size < 0xFB:
        return bytes([size]) + data
    for mark, width in ((0xFC, 2), (0xFD, 3), (0xFE, 8)):
        if size < 1 << 8 * width:
            return bytes([mark]) + size.to_bytes(width, "little") + data
    raise ValueError(size)


def text_row(payload: bytes) -> tuple[str | None, ...]:
    """Read a row of the text protocol; bytes that are no UTF-8 come out as escapes."""
    position = 0
    values: list[str | None] = []
    while position < len(payload):
        if payload[position] == 0xFB:
            values.append(None)
            position += 1
            continue
        size, position = read_lenenc(payload, position)
        values.append(payload[position : position + size].decode(errors="backslashreplace"))
        position += size
    return tuple(values)


def status_of(payload: bytes, *, deprecate_eof: bool) -> int:
    """Give the status flags of an OK or EOF packet."""
    if payload[0] == 0xFE and not deprecate_eof:
        return int.from_bytes(payload[3:5], "little")
    _, position = read_lenenc(payload, 1)
    _, position = read_lenenc(payload, position)
    return int.from_bytes(payload[position : position + 2], "little")


def packets(payload: bytes, sequence: int = 0) -> bytes:
    """Put a payload into packets."""
    out = []
    while True:
        part, payload = payload[:MAX_PAYLOAD], payload[MAX_PAYLOAD:]
        out += [len(part).to_bytes(3, "little"), bytes([sequence & 0xFF]), part]
        sequence += 1
        if len(part) < MAX_PAYLOAD:
            return b"".join(out)


def read_greeting(payload: bytes) -> Greeting:
    """Read HandshakeV10."""
    assert payload[0] == 10, payload
    end = payload.index(b"\0", 1)
    version = payload[1:end].decode()
    connection_id = int.from_bytes(payload[end + 1 : end + 5], "little")
    salt = payload[end + 5 : end + 13]
    rest = payload[end + 14 :]
    low, high = rest[0:2], rest[5:7]
    salt += rest[18 : 18 + max(13, rest[7] - 8) - 1]
    capabilities = int.from_bytes(low + high, "little")
    plugin = rest[18 + max(13, rest[7] - 8) :].rstrip(b"\0").decode()
    return Greeting(version, connection_id, salt, capabilities, plugin)


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


def scramble(plugin: str, password: str, salt: bytes) -> bytes:
    """Answer a challenge of mysql_native_password or caching_sha2_password."""
    secret = password.encode()
    if not secret:
        return b""
    if plugin == "mysql_native_password":
        once = hashlib.sha1(secret).digest()
        twice = hashlib.sha1(once).digest()
        return _xor(once, hashlib.sha1(salt + twice).digest())
    assert plugin == "caching_sha2_password", plugin
    once = hashlib.sha256(secret).digest()
    twice = hashlib.sha256(once).digest()
    return _xor(once, hashlib.sha256(twice + salt).digest())


def parsec_answer(password: str, server_scramble: bytes, ext_salt: bytes) -> bytes:
    """Answer a challenge of MariaDB's parsec, once the server has sent the ext-salt."""
    assert ext_salt[:1] == b"P", ext_salt
    iterations = 1024 << ext_salt[1]
    secret = hashlib.pbkdf2_hmac("sha512", password.encode(), ext_salt[2:], iterations, 32)
    scramble = bytes(range(32))
    key = Ed25519PrivateKey.from_private_bytes(secret)
    return scramble + key.sign(server_scramble + scramble)


def encrypted(password: str, salt: bytes, public_key: bytes) -> bytes:
    """Encrypt a password for caching_sha2_password's full authentication without TLS."""
    key = serialization.load_pem_public_key(public_key)
    assert isinstance(key, rsa.RSAPublicKey)
    secret = password.encode() + b"\0"
    repeated = (salt * (len(secret) // len(salt) + 1))[: len(secret)]
    oaep = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)
    return key.encrypt(_xor(secret, repeated), oaep)
