"""Logging in, played against a script: what is sent, and what is not put up with."""

from __future__ import annotations

import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import ConnectFailed, ProxyError, ServerProtocolError, ServerRefused
from proxy.mysql import auth, handshake
from proxy.mysql.capabilities import LOGIN_CAPABILITIES
from proxy.mysql.constants import CLIENT_FOUND_ROWS, CLIENT_SSL
from proxy.mysql.lenenc import packet
from proxy.mysql.login import ServerLogin, ServerSecret, login
from proxy.mysql.messages import Err, Ok, err_payload, ok_payload, read_err
from proxy.wire.steps import TlsFacts
from tests.mysql import test_parsec as parsec
from tests.mysql.test_rsa import PEM
from tests.support.play import Player

NONCE = b"abcdefghijklmnopqrst"
TLS = TlsFacts("TLSv1.3", "cipher", b"", b"")
DONE = ok_payload(Ok(status=2), session_track=True)
SECRET = b"secret"


def greeting(plugin: str = auth.CACHING_SHA2, *, tls: bool = True) -> bytes:
    """A server's greeting, as a packet."""
    offered = LOGIN_CAPABILITIES | CLIENT_FOUND_ROWS | (CLIENT_SSL if tls else 0)
    message = handshake.HandshakeV10("9.7.0", 77, NONCE, offered, 255, 2, plugin)
    return packet(handshake.handshake_payload(message), 0)


def begin(
    mode: str = "prefer", *, unix_socket: bool = False, password: bytes = SECRET
) -> Player[ServerLogin]:
    """Begin to log in as "app" to a database of this name."""
    conversation = login(
        user="app",
        database="app",
        pool_capabilities=CLIENT_FOUND_ROWS,
        collation=45,
        tls_mode=mode,
        unix_socket=unix_socket,
        secret=ServerSecret(password=password),
        nonce=secrets.token_bytes,
    )
    return Player(conversation, tls=TLS)


def response_of(sent: bytes, sequence: int) -> handshake.HandshakeResponse41:
    """Read a client's response, which is all there is."""
    assert sent[:4] == packet(sent[4:], sequence)[:4]
    return handshake.read_response(sent[4:])


def test_a_login_without_tls() -> None:
    player = begin("disable")
    response = response_of(player.feed(greeting()), 1)
    assert (response.user, response.database, response.collation) == (b"app", b"app", 45)
    assert response.auth_response == auth.sha2_scramble(SECRET, NONCE)
    assert response.capabilities & CLIENT_FOUND_ROWS
    assert not response.capabilities & CLIENT_SSL
    assert b"tidegate" in response.attributes
    assert player.feed(packet(b"\x01\x03", 2) + packet(DONE, 3)) == b""
    assert player.result.thread_id == 77
    assert player.result.capabilities == response.capabilities
    assert player.result.profile.server_version == "9.7.0"


def test_tls_comes_before_the_user_name() -> None:
    player = begin("require")
    sent = player.feed(greeting())
    [before] = player.tls_after
    assert handshake.is_ssl_request(before[4:])
    assert before[3] == 1
    response = response_of(sent[len(before) :], 2)
    assert response.user == b"app"
    player.feed(packet(DONE, 3))
    assert player.result.tls is TLS


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
def test_tls_that_must_be_had_is_not_done_without(mode: str) -> None:
    with pytest.raises(ConnectFailed, match="does not support TLS"):
        begin(mode).feed(greeting(tls=False))


def test_a_password_goes_in_clear_through_tls_only() -> None:
    full = packet(b"\x01\x04", 3)
    player = begin("require")
    player.feed(greeting())
    assert player.feed(full) == packet(SECRET + b"\0", 4)
    player = begin("disable")
    player.feed(greeting())
    assert player.feed(full) == packet(b"\x02", 4)
    sent = player.feed(packet(b"\x01" + PEM, 5))
    assert len(sent) == 4 + 256
    player.feed(packet(DONE, 7))
    assert player.done
    with pytest.raises(ConnectFailed, match="needs TLS"):
        switched("disable", auth.CLEAR)
    assert switched("require", auth.CLEAR) == packet(SECRET + b"\0", 4)


def switched(mode: str, plugin: str) -> bytes:
    """What is sent after a switch to another plugin."""
    player = begin(mode)
    player.feed(greeting())
    sequence = 2 if mode == "disable" else 3
    request = handshake.AuthSwitchRequest(plugin, NONCE[::-1])
    return player.feed(packet(handshake.auth_switch_payload(request), sequence))


def test_the_server_chooses_another_plugin() -> None:
    answer = auth.native_scramble(SECRET, NONCE[::-1])
    assert switched("disable", auth.NATIVE) == packet(answer, 3)
    assert switched("disable", auth.SHA256) == packet(b"\x01", 3)
    assert switched("require", auth.SHA256) == packet(SECRET + b"\0", 4)
    assert len(switched("disable", auth.ED25519)) == 4 + 64
    assert switched("disable", auth.PARSEC) == packet(b"", 3)
    with pytest.raises(ConnectFailed, match="dialog"):
        switched("disable", "dialog")


def begin_parsec(random: bytes) -> Player[ServerLogin]:
    """Begin to log in to MariaDB, and ask for the ext-salt."""
    conversation = login(
        user="app",
        database="app",
        pool_capabilities=0,
        collation=45,
        tls_mode="disable",
        unix_socket=False,
        secret=ServerSecret(password=parsec.PASSWORD),
        nonce=lambda size: random[:size],
    )
    player = Player(conversation)
    player.feed(greeting(auth.NATIVE))
    request = handshake.AuthSwitchRequest(auth.PARSEC, parsec.SCRAMBLE)
    payload = handshake.auth_switch_payload(request)
    assert payload == b"\xfeparsec\0" + parsec.SCRAMBLE
    assert player.feed(packet(payload, 2)) == packet(b"", 3)
    return player


def test_parsec_is_answered_as_mariadbs_client_does() -> None:
    player = begin_parsec(parsec.ANSWER)
    assert player.feed(packet(b"\x01" + parsec.EXT_SALT, 4)) == packet(parsec.ANSWER, 5)
    player.feed(packet(DONE, 6))
    assert player.done


def test_an_ext_salt_that_is_none_is_not_followed() -> None:
    with pytest.raises(ServerProtocolError, match="too many iterations"):
        begin_parsec(parsec.ANSWER).feed(packet(b"\x01P\x04" + parsec.EXT_SALT[2:], 4))


def test_a_plugin_we_do_not_have_is_not_begun_with() -> None:
    response = response_of(begin("disable").feed(greeting("auth_gssapi_client")), 1)
    assert response.plugin == auth.NATIVE


def test_an_empty_password_is_answered_with_nothing() -> None:
    response = response_of(begin("disable", password=b"").feed(greeting()), 1)
    assert response.auth_response == b""


def test_a_unix_socket_needs_no_tls() -> None:
    player = begin("require", unix_socket=True)
    assert response_of(player.feed(greeting()), 1).user == b"app"
    assert player.feed(packet(b"\x01\x04", 2)) == packet(SECRET + b"\0", 3)


def test_a_refusal_carries_the_servers_error() -> None:
    player = begin("disable")
    player.feed(greeting())
    payload = err_payload(1045, "28000", "Access denied")
    with pytest.raises(ServerRefused, match="Access denied") as caught:
        player.feed(packet(payload, 2))
    assert caught.value.response == payload
    assert caught.value.secret_rejected
    assert caught.value.definitive


def test_a_refusal_ahead_of_the_greeting_is_given_a_sqlstate() -> None:
    with pytest.raises(ServerRefused) as caught:
        begin().feed(packet(err_payload(1040, "", "Too many connections"), 0))
    assert read_err(caught.value.response) == Err(1040, "08004", b"Too many connections")
    assert not caught.value.definitive


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        (b"\x02dialog\0", ConnectFailed),
        (b"\x01\x09", ServerProtocolError),
        (b"\x07", ServerProtocolError),
        (b"\x00\x00", ServerProtocolError),
        (b"\xfe", ServerProtocolError),
        (b"\xff\x01", ServerProtocolError),
    ],
)
def test_what_a_server_must_not_answer(payload: bytes, error: type[ProxyError]) -> None:
    player = begin("disable")
    player.feed(greeting())
    with pytest.raises(error):
        player.feed(packet(payload, 2))


def test_a_login_without_end_is_ended() -> None:
    player = begin("disable")
    player.feed(greeting())
    with pytest.raises(ServerProtocolError, match="end"):
        player.feed(packet(b"\x01\x03", 2) * 20)


def test_another_protocol_is_told_apart() -> None:
    with pytest.raises(ServerProtocolError, match="no MySQL server"):
        begin().feed(packet(b"SSH-2.0", 0))
    with pytest.raises(ServerProtocolError, match="length"):
        begin().feed(b"SSH-2.0\r\n")


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=4))
def test_any_answer_ends_in_a_login_or_an_error(payloads: list[bytes]) -> None:
    player = begin("disable")
    player.feed(greeting())
    try:
        for number, payload in enumerate(payloads, 2):
            player.feed(packet(payload, number))
    except (ConnectFailed, ServerProtocolError, ServerRefused):
        return
    assert player.done or all(payload[0] in (0xFE, 1) for payload in payloads)
