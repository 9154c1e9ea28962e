"""Logging in to servers: transcripts, and real servers with and without TLS."""

from __future__ import annotations

import itertools
import struct
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.errors import (
    ConnectFailed,
    CredentialError,
    ProxyError,
    ServerProtocolError,
    ServerRefused,
)
from proxy.postgres.auth import md5_hash, md5_response
from proxy.postgres.login import ServerLogin, ServerSecret, cancel, login, server_secret
from proxy.postgres.scram import SCRAM_SHA_256, ScramServer, derive_keys
from proxy.wire.steps import TlsFacts
from tests.support import messages as wire
from tests.support.play import Player

if TYPE_CHECKING:
    from collections.abc import Callable

OK = wire.message("R", b"\0\0\0\0")
KEY = wire.message("K", struct.pack("!I", 42) + b"cancel-key")
READY = wire.message("Z", b"I")
STATUS = wire.message("S", b"server_version\x0018\0")
NOTICE = wire.message("N", b"SNOTICE\0C00000\0Mpassword expires\0\0")
TLS = TlsFacts("TLSv1.3", "AES", b"", b"", "postgresql")
STARTUP = wire.startup(
    {"user": "app", "database": "db", "application_name": "x"}, wire.PROTOCOL_3_2
)


def counter() -> Callable[[int], bytes]:
    """Give a source of nonces that never repeat."""
    numbers = itertools.count()
    return lambda size: (b"%x." % next(numbers)).ljust(size, b"x")[:size]


def client(
    secret: ServerSecret | str = "",
    *,
    mode: str = "disable",
    unix: bool = False,
    tls: TlsFacts | None = TLS,
) -> Player[ServerLogin]:
    """Be the client of one server."""
    conversation = login(
        user="app",
        database="db",
        parameters={"application_name": "x"},
        tls_mode=mode,
        unix_socket=unix,
        secret=server_secret(secret, {}, None) if isinstance(secret, str) else secret,
        nonce=counter(),
    )
    return Player(conversation, tls=tls)


def begun(secret: ServerSecret | str = "") -> Player[ServerLogin]:
    """Be a client that has sent its start-up packet."""
    player = client(secret)
    assert player.opening == STARTUP
    return player


# TLS.


@pytest.mark.parametrize("mode", ["prefer", "require", "verify-ca", "verify-full"])
def test_tls(mode: str) -> None:
    player = client(mode=mode)
    assert player.opening == wire.SSL_REQUEST
    assert player.feed(b"S") == STARTUP
    assert player.tls_after == [b""]
    player.feed(OK + READY)
    assert player.result.tls == TLS


def test_tls_refused() -> None:
    player = client(mode="prefer")
    assert player.opening == wire.SSL_REQUEST
    assert player.feed(b"N") == STARTUP
    player.feed(OK + READY)
    assert player.result.tls is None
    for mode in ("require", "verify-ca", "verify-full"):
        with pytest.raises(ConnectFailed, match="does not support TLS"):
            client(mode=mode).feed(b"N")


def test_an_error_from_nobody_knows_whom() -> None:
    with pytest.raises(ServerProtocolError) as caught:
        client(mode="prefer").feed(wire.message("E", b"Myou are hacked\0\0"))
    assert "hacked" not in str(caught.value)


def test_clear_text_behind_the_answer() -> None:
    with pytest.raises(ProxyError, match="unencrypted"):
        client(mode="require").feed(b"S" + OK + READY)


def test_no_tls_on_unix_sockets() -> None:
    assert client(mode="verify-full", unix=True).opening == STARTUP


@pytest.mark.parametrize("answer", [b"S", b"N"])
def test_a_cancel_request_goes_through_tls_if_the_session_does(answer: bytes) -> None:
    player = Player(cancel(b"request", tls=True), tls=TLS)
    assert player.opening == wire.SSL_REQUEST
    assert player.feed(answer) == b"request"
    assert not player.done
    player.end()
    assert player.done


def test_a_cancel_request_goes_alone_otherwise() -> None:
    player = Player(cancel(b"request", tls=False))
    assert player.opening == b"request"
    player.end()
    assert player.done


# What servers ask for.


def test_trust() -> None:
    player = begun()
    assert player.feed(NOTICE + OK + STATUS + NOTICE + KEY + READY + b"rest") == b""
    assert player.result == ServerLogin(
        parameters={"server_version": "18"},
        process_id=42,
        secret=b"cancel-key",
        tls=None,
        minor=2,
    )
    assert player.unread == b"rest"


def test_no_cancel_key() -> None:
    player = begun()
    player.feed(OK + READY)
    assert (player.result.process_id, player.result.secret) == (0, b"")


@pytest.mark.parametrize("version", [wire.PROTOCOL_3_0, 0])
def test_older_server_negotiates_down(version: int) -> None:
    """PostgreSQL 17 and before know 3.0 only; the documentation's form of the number counts too."""
    player = begun()
    player.feed(wire.message("v", struct.pack("!II", version, 0)) + OK + READY)
    assert player.result.minor == 0


def test_password() -> None:
    player = begun("secret")
    assert player.feed(wire.message("R", b"\0\0\0\3")) == wire.message("p", b"secret\0")
    player.feed(OK + READY)
    assert player.done


@pytest.mark.parametrize("credential", ["secret", md5_hash(b"secret", "app")])
def test_md5(credential: str) -> None:
    player = begun(credential)
    answer = player.feed(wire.message("R", b"\0\0\0\5salt"))
    assert answer == wire.message("p", md5_response(md5_hash(b"secret", "app"), b"salt") + b"\0")


SASL = wire.message("R", b"\0\0\0\x0aSCRAM-SHA-256\0\0")


def scram(player: Player[ServerLogin], salt: bytes = b"salt", *, finish: bool = True) -> None:
    """Be a server that asks for SCRAM and has the password "secret"."""
    one = ScramServer(derive_keys(b"secret", salt, 4), b"s" * 18, None, user="app")
    first = player.feed(SASL).partition(b"n,,")
    challenge = one.first(SCRAM_SHA_256, first[1] + first[2])
    response = player.feed(wire.message("R", b"\0\0\0\x0b" + challenge))
    signature, _ = one.final(response[5:])
    if finish:
        player.feed(wire.message("R", b"\0\0\0\x0c" + signature) + OK + READY)
    else:
        player.feed(OK + READY)


def test_scram() -> None:
    player = begun("secret")
    scram(player)
    assert player.done


def test_keys_are_derived_once_for_a_credential() -> None:
    derived: dict[str, Any] = {}
    scram(begun(server_secret("secret", derived, None)))
    cache = derived["server_keys"]
    keys = cache.keys(b"secret", b"salt", 4)
    scram(begun(server_secret("secret", derived, None)))
    assert cache.keys(b"secret", b"salt", 4) is keys


def test_scram_with_keys_a_client_revealed() -> None:
    player = begun(server_secret("", {}, derive_keys(b"secret", b"salt", 4)))
    scram(player)
    assert player.done


def test_revealed_keys_of_another_verifier() -> None:
    secret = server_secret("", {}, derive_keys(b"secret", b"salt", 4))
    with pytest.raises(CredentialError, match="not the one the database server stores"):
        scram(begun(secret), b"other salt")
    secret = server_secret("secret", {}, derive_keys(b"secret", b"salt", 4))
    scram(begun(secret), b"other salt")


def test_server_that_does_not_prove_itself() -> None:
    with pytest.raises(ServerProtocolError, match="broke off"):
        scram(begun("secret"), finish=False)


@pytest.mark.parametrize("request_", [b"\0\0\0\3", b"\0\0\0\5salt", SASL[5:]])
def test_nothing_to_answer_with(request_: bytes) -> None:
    player = begun("")
    if request_[3] == 10:
        with pytest.raises(CredentialError, match='user "app"'):
            scram(player)
    else:
        with pytest.raises(CredentialError, match='user "app"'):
            player.feed(wire.message("R", request_))


@pytest.mark.parametrize("kind", [2, 6, 7, 9, 99])
def test_unsupported_methods(kind: int) -> None:
    with pytest.raises(ConnectFailed, match="not supported"):
        begun("secret").feed(wire.message("R", struct.pack("!I", kind)))


# Servers that refuse, and that talk nonsense.


@pytest.mark.parametrize("before", [b"", NOTICE, OK, OK + STATUS])
def test_refusal_is_kept_as_it_came(before: bytes) -> None:
    response = wire.message("E", b"SFATAL\0C53300\0Msorry, too many clients already\0\0")
    with pytest.raises(ServerRefused) as caught:
        begun().feed(before + response)
    assert caught.value.response == response
    assert (caught.value.code, str(caught.value)) == ("53300", "sorry, too many clients already")


@pytest.mark.parametrize(
    "said",
    [
        READY,
        STATUS,
        KEY,
        OK + OK,
        wire.message("R", b"\0\0\0"),
        wire.message("R", b"\0\0\0\5sal"),
        wire.message("R", b"\0\0\0\x0aPLAIN\0\0"),
        wire.message("R", b"\0\0\0\x0aPLAIN"),
        wire.message("R", b"\0\0\0\3") * 2,
        wire.message("v", b"\0"),
        OK + wire.message("K", b"\0\0\0\1abc"),
        OK + wire.message("K", b"\0\0\0\1" + b"x" * 257),
        OK + wire.message("S", b"half\0"),
        OK + wire.message("T", b""),
        b"R\0\0\0\3",
        b"R\xff\xff\xff\xff",
        b"R\0\2\0\0",
        b"HTTP/1.1 400 Bad Request\r\n",
    ],
)
def test_nonsense(said: bytes) -> None:
    with pytest.raises(ServerProtocolError):
        begun("secret").feed(said)


def test_server_that_closes() -> None:
    with pytest.raises(EOFError):
        begun().end()


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=30),
            st.sampled_from([OK, READY, STATUS, KEY, NOTICE, SASL]),
            st.tuples(st.sampled_from("RESKNZv"), st.binary(max_size=30)).map(
                lambda pair: wire.message(*pair)
            ),
        ),
        max_size=6,
    )
)
@settings(max_examples=300)
def test_garbage_raises_nothing_of_its_own(pieces: list[bytes]) -> None:
    player = client("secret")
    try:
        for piece in pieces:
            player.feed(piece)
        player.end()
    except (ProxyError, EOFError):
        return
    assert player.done


@pytest.mark.parametrize("position", range(1, len(NOTICE + OK + STATUS + KEY + READY)))
def test_every_split_point(position: int) -> None:
    whole = NOTICE + OK + STATUS + KEY + READY
    player = begun()
    player.feed(whole[:position])
    player.feed(whole[position:])
    assert player.result.process_id == 42
