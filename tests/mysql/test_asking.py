"""What clients are asked, beyond the logins of ``test_accept.py``: parsec, and proofs for them."""

from __future__ import annotations

import hashlib

import pytest

from proxy.errors import ClientAuthError
from proxy.mysql import auth
from proxy.mysql import handshake as wire
from proxy.mysql.capabilities import LOGIN_CAPABILITIES
from proxy.mysql.certificate_proof import proof
from proxy.mysql.constants import CLIENT_SSL
from proxy.mysql.lenenc import packet
from proxy.wire.steps import TlsFacts
from tests.mysql.test_accept import PASSWORD, Door, visit

MARIADB = "11.8.9-MariaDB"
SHOWN = TlsFacts("TLSv1.3", "cipher", b"", b"certificate")
FINGERPRINT = hashlib.sha256(b"certificate").digest()


def ext_salt(user: str, first: bytes = b"") -> bytes:
    """Begin to log in with parsec; gives what is sent once the client has asked for the salt."""
    door = Door(auth.PARSEC)
    assert door.player.opening
    response = wire.HandshakeResponse41(
        LOGIN_CAPABILITIES, 0, 45, user.encode(), b"", b"", auth.PARSEC, b""
    )
    sent = door.player.feed(packet(wire.response_payload(response), 1))
    request = wire.read_auth_switch(sent[4:])
    assert (request.plugin, len(request.data)) == (auth.PARSEC, 32)
    return door.player.feed(packet(first, 3))[4:]


def test_the_salt_does_not_tell_whether_there_is_such_a_user() -> None:
    salts = [ext_salt(user) for user in ("app", "app", "nobody", "nobody", "somebody")]
    assert all(salt.startswith(b"\x01P\0") and len(salt) == 21 for salt in salts)
    assert salts[0] == salts[1]
    assert salts[2] == salts[3]
    assert len(set(salts)) == 3


def test_parsec_begins_with_nothing() -> None:
    with pytest.raises(ClientAuthError):
        ext_salt("app", b"something")


@pytest.mark.parametrize("method", [auth.NATIVE, auth.ED25519, auth.PARSEC])
@pytest.mark.parametrize("plugin", [auth.NATIVE, auth.CACHING_SHA2])
def test_a_certificate_is_vouched_for(method: str, plugin: str) -> None:
    door = Door(method, plugin=plugin, version=MARIADB, facts=SHOWN)
    told = visit(door, mode="require")[0].facts.proof
    assert told.startswith(b"\x01")
    assert len(told) == 65
    again = Door(method, plugin=plugin, version=MARIADB, facts=SHOWN)
    assert visit(again, mode="require")[0].facts.proof != told


def test_the_proof_is_of_the_nonce_that_the_password_was_scrambled_with() -> None:
    door = Door(auth.NATIVE, plugin=auth.NATIVE, version=MARIADB, facts=SHOWN)
    opening = door.player.opening
    nonce = wire.read_handshake(opening[4:]).nonce
    response = wire.HandshakeResponse41(
        LOGIN_CAPABILITIES | CLIENT_SSL,
        0,
        45,
        b"app",
        auth.native_scramble(PASSWORD.encode(), nonce),
        b"",
        auth.NATIVE,
        b"",
    )
    payload = wire.response_payload(response)
    door.player.feed(packet(payload[:32], 1))
    door.player.feed(packet(payload, 2))
    stored = auth.native_stored(PASSWORD.encode())
    assert door.player.result.facts.proof == proof(stored, nonce, FINGERPRINT)


@pytest.mark.parametrize(
    ("method", "version", "mode", "facts"),
    [
        (auth.NATIVE, "10.11.19-MariaDB", "require", SHOWN),
        (auth.NATIVE, "9.7.0", "require", SHOWN),
        (auth.NATIVE, MARIADB, "disable", SHOWN),
        (auth.CACHING_SHA2, MARIADB, "require", SHOWN),
        (auth.SHA256, MARIADB, "require", SHOWN),
        (auth.NATIVE, MARIADB, "require", TlsFacts("TLSv1.3", "cipher", b"", b"")),
    ],
)
def test_where_there_is_no_proof(method: str, version: str, mode: str, facts: TlsFacts) -> None:
    door = Door(method, version=version, facts=facts)
    assert visit(door, mode=mode)[0].facts.proof == b""
