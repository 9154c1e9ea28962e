"""Start-up and authentication of clients, as transcripts."""

from __future__ import annotations

import itertools
import struct
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.errors import (
    ClientAuthError,
    ClientNotAdmitted,
    ClientProtocolError,
    FeatureNotSupported,
    InvalidParameterValue,
    InvalidStartupOption,
    ProxyError,
)
from proxy.postgres import codes
from proxy.postgres.accept import CancelRequest, ClientLogin, ClientSecret, accept, client_secret
from proxy.postgres.auth import md5_hash, md5_response
from proxy.postgres.login import ServerLogin, login, server_secret
from proxy.postgres.scram import derive_keys, format_verifier
from proxy.wire.steps import Fetch, TlsFacts
from tests.support import messages as wire
from tests.support.play import Player, converse

if TYPE_CHECKING:
    from collections.abc import Callable

OK = wire.message("R", b"\0\0\0\0")
READY = wire.message("Z", b"I")
TLS = TlsFacts("TLSv1.3", "AES", b"", b"", "postgresql")
APP = {"user": "app", "database": "db"}
TRUST = client_secret("trust-anywhere", None, {})


def counter() -> Callable[[int], bytes]:
    """Give a source of nonces that never repeat."""
    numbers = itertools.count()
    return lambda size: (b"%x." % next(numbers)).ljust(size, b"x")[:size]


def server(
    secret: ClientSecret = TRUST,
    *,
    available: bool = False,
    required: bool = False,
    direct: bool = False,
    local: bool = False,
    tls: TlsFacts | None = TLS,
    nonce: Callable[[int], bytes] | None = None,
) -> Player[ClientLogin | CancelRequest]:
    """Be the server of one client."""
    conversation = accept(
        tls_available=available,
        tls_required=required,
        direct_tls=direct,
        local_peer=local,
        nonce=nonce or counter(),
    )
    return Player(conversation, tls=tls, fetch=lambda _: secret)


def logged_in(player: Player[Any]) -> ClientLogin:
    """Give the result of a player that has ended with a login."""
    assert player.done
    assert isinstance(player.result, ClientLogin)
    return player.result


# Start-up.


def test_login_without_anything() -> None:
    player = server()
    assert player.feed(wire.startup(APP)) == OK
    assert logged_in(player) == ClientLogin(
        user="app", database="db", parameters={}, options={}, minor=0, tls=None
    )


def test_parameters_and_options() -> None:
    player = server()
    sent = {
        **APP,
        "options": "-c a.b=1 --work-mem=2MB",
        "replication": "off",
        "TimeZone": "UTC",
        "application_name": "x",
    }
    assert player.feed(wire.startup(sent)) == OK
    result = logged_in(player)
    assert result.parameters == {"TimeZone": "UTC", "application_name": "x"}
    assert result.options == {"a.b": "1", "work_mem": "2MB"}


def test_what_is_fetched() -> None:
    asked: list[Fetch] = []

    def fetch(command: Fetch) -> ClientSecret:
        asked.append(command)
        return TRUST

    conversation = accept(
        tls_available=False,
        tls_required=False,
        direct_tls=False,
        local_peer=False,
        nonce=counter(),
    )
    Player(conversation, fetch=fetch).feed(wire.startup({"user": "app"}))
    assert asked == [Fetch("app", "app")]


@pytest.mark.parametrize(
    ("protocol", "minor", "negotiated"),
    [
        (wire.PROTOCOL_3_0, 0, None),
        (wire.PROTOCOL_3_0 + 1, 0, 0),
        (wire.PROTOCOL_3_2, 2, None),
        (wire.PROTOCOL_3_0 + 3, 2, 2),
        (wire.PROTOCOL_3_0 + 9999, 2, 2),
    ],
)
def test_minor_versions(protocol: int, minor: int, negotiated: int | None) -> None:
    player = server()
    said = b""
    if negotiated is not None:
        said = wire.message("v", struct.pack("!II", wire.PROTOCOL_3_0 + negotiated, 0))
    assert player.feed(wire.startup(APP, protocol)) == said + OK
    assert logged_in(player).minor == minor


def test_unknown_protocol_options() -> None:
    player = server()
    sent = {**APP, "_pq_.one": "1", "_pq_.two": "2"}
    negotiated = struct.pack("!II", wire.PROTOCOL_3_0, 2) + b"_pq_.one\0_pq_.two\0"
    assert player.feed(wire.startup(sent)) == wire.message("v", negotiated) + OK
    assert logged_in(player).parameters == {}


@pytest.mark.parametrize("major", [0, 1, 2, 4, 0xFFFF])
def test_major_versions(major: int) -> None:
    expected = rf"unsupported frontend protocol {major}\.7: server supports 3\.0 to 3\.2"
    with pytest.raises(FeatureNotSupported, match=expected):
        server().feed(wire.startup(APP, major << 16 | 7))


@pytest.mark.parametrize("value", ["true", "on", "1", "yes", "database"])
def test_replication(value: str) -> None:
    with pytest.raises(FeatureNotSupported, match="replication"):
        server().feed(wire.startup({**APP, "replication": value}))


@pytest.mark.parametrize(
    ("parameters", "kind"),
    [
        ({"replication": "maybe"}, InvalidParameterValue),
        ({"options": "-x"}, InvalidStartupOption),
        ({"user": ""}, ClientNotAdmitted),
    ],
)
def test_parameters_refused(parameters: dict[str, str], kind: type[ProxyError]) -> None:
    with pytest.raises(kind):
        server().feed(wire.startup({**APP, **parameters}))


def test_no_user() -> None:
    with pytest.raises(ClientNotAdmitted, match="no PostgreSQL user name specified") as caught:
        server().feed(wire.startup({"database": "db"}))
    assert caught.value.sqlstate == "28000"


@pytest.mark.parametrize("length", [0, 3, 4, 7, 10001, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_lengths(length: int) -> None:
    with pytest.raises(ClientProtocolError, match="invalid length of startup packet"):
        server().feed(struct.pack("!I", length))


def test_longest_packet() -> None:
    filler = codes.STARTUP_LIMIT_BYTES - len(wire.startup({**APP, "a": ""}))
    packet = wire.startup({**APP, "a": "x" * filler})
    assert len(packet) == 10000
    player = server()
    assert player.feed(packet) == OK
    assert len(logged_in(player).parameters["a"]) == filler


def test_client_that_leaves() -> None:
    with pytest.raises(EOFError):
        server().end()
    player = server()
    player.feed(b"\0\0")
    with pytest.raises(ClientProtocolError):
        player.end()


# Encryption.


def test_tls_not_available() -> None:
    player = server()
    assert player.feed(wire.SSL_REQUEST) == b"N"
    assert player.feed(wire.startup(APP)) == OK
    assert logged_in(player).tls is None


@pytest.mark.parametrize("order", list(itertools.permutations([0, 1])))
def test_both_requests_in_either_order(order: tuple[int, ...]) -> None:
    requests = [wire.SSL_REQUEST, wire.GSS_REQUEST]
    player = server()
    for number in order:
        assert player.feed(requests[number]) == b"N"
    assert player.feed(wire.startup(APP)) == OK


@pytest.mark.parametrize("request_", [wire.SSL_REQUEST, wire.GSS_REQUEST])
def test_a_second_request_is_no_request(request_: bytes) -> None:
    player = server()
    assert player.feed(request_) == b"N"
    with pytest.raises(FeatureNotSupported, match="unsupported frontend protocol 1234"):
        player.feed(request_)


@pytest.mark.parametrize("first", [b"", wire.GSS_REQUEST])
def test_tls(first: bytes) -> None:
    player = server(available=True, required=True)
    player.feed(first)
    assert player.feed(wire.SSL_REQUEST) == b"S"
    assert player.tls_after == [b"S"]
    assert player.feed(wire.startup(APP)) == OK
    assert logged_in(player).tls == TLS


@pytest.mark.parametrize("request_", [wire.SSL_REQUEST, wire.GSS_REQUEST])
def test_requests_inside_tls(request_: bytes) -> None:
    player = server(available=True)
    player.feed(wire.SSL_REQUEST)
    with pytest.raises(FeatureNotSupported):
        player.feed(request_)


def test_clear_text_behind_the_request() -> None:
    player = server(available=True)
    with pytest.raises(ClientProtocolError, match="unencrypted"):
        player.feed(wire.SSL_REQUEST + wire.startup(APP))


@pytest.mark.parametrize("code", [wire.SSL_CODE, wire.GSS_CODE])
def test_requests_with_a_body(code: int) -> None:
    with pytest.raises(ClientProtocolError):
        server().feed(wire.untyped(struct.pack("!I", code) + b"body"))


def test_direct_tls() -> None:
    player = server(available=True, required=True, direct=True)
    assert player.tls_after == [b""]
    assert player.feed(wire.SSL_REQUEST) == b"N"
    assert player.feed(wire.startup(APP)) == OK
    assert logged_in(player).tls == TLS


def test_direct_tls_needs_alpn() -> None:
    facts = TlsFacts("TLSv1.3", "AES", b"", b"", "")
    with pytest.raises(ClientProtocolError, match="without ALPN"):
        server(available=True, direct=True, tls=facts)


def test_direct_tls_that_is_not_offered() -> None:
    player = server(available=False, direct=True)
    with pytest.raises(ClientProtocolError, match="invalid length of startup packet"):
        player.feed(b"\x16\x03\x01\x02\x00\x01\x00")


def test_tls_required() -> None:
    for first in (b"", wire.GSS_REQUEST):
        player = server(available=True, required=True)
        player.feed(first)
        with pytest.raises(ClientNotAdmitted, match="TLS is required") as caught:
            player.feed(wire.startup(APP))
        assert caught.value.sqlstate == "28000"


# Cancel requests.


@pytest.mark.parametrize("size", [4, 32, 256])
def test_cancel(size: int) -> None:
    for available in (False, True):
        player = server(available=available, required=available)
        if available:
            player.feed(wire.SSL_REQUEST)
        assert player.feed(wire.cancel(0xFFFFFFFF, b"k" * size)) == b""
        assert player.result == CancelRequest(0xFFFFFFFF, b"k" * size)


@pytest.mark.parametrize("body", [b"", b"abc", b"1234", b"1234567", b"x" * 261])
def test_odd_cancel_requests(body: bytes) -> None:
    with pytest.raises(ClientProtocolError):
        server().feed(wire.untyped(struct.pack("!I", wire.CANCEL_CODE) + body))


# Authentication.


def talk(
    secret: ClientSecret,
    credential: str,
    *,
    tls: TlsFacts | None = None,
    local: bool = False,
    user: str = "app",
    nonce: Callable[[int], bytes] | None = None,
) -> tuple[ClientLogin, ServerLogin]:
    """Let our own client log in to our own server with a credential."""
    one = server(secret, available=tls is not None, local=local, tls=tls, nonce=nonce)
    conversation = login(
        user=user,
        database="db",
        parameters={},
        tls_mode="require" if tls is not None else "disable",
        unix_socket=False,
        secret=server_secret(credential, {}, None),
        nonce=counter(),
    )
    other = Player(conversation, tls=tls)
    converse(other, one)
    other.feed(READY)
    return logged_in(one), other.result


VERIFIER = format_verifier(derive_keys(b"secret", b"salt", 4))
CREDENTIALS = ["secret", VERIFIER, md5_hash(b"secret", "app")]


@pytest.mark.parametrize("credential", CREDENTIALS[:2])
@pytest.mark.parametrize("tls", [None, TLS])
def test_scram(credential: str, tls: TlsFacts | None) -> None:
    derived: dict[str, Any] = {}
    secret = client_secret("scram-sha-256", credential, derived)
    result, _ = talk(secret, "secret", tls=tls)
    assert (result.client_keys is not None) == (credential == VERIFIER)
    with pytest.raises(ClientAuthError, match=r'^password authentication failed for user "app"$'):
        talk(secret, "wrong", tls=tls)


def test_keys_are_derived_once_for_a_credential() -> None:
    derived: dict[str, Any] = {}
    talk(client_secret("scram-sha-256", "secret", derived), "secret")
    keys = derived["client_keys"]
    talk(client_secret("scram-sha-256", "secret", derived), "secret")
    assert derived["client_keys"] is keys


def test_scram_without_an_initial_response() -> None:
    player = server(client_secret("scram-sha-256", VERIFIER, {}))
    player.feed(wire.startup(APP))
    said = player.feed(wire.message("p", b"SCRAM-SHA-256\0\xff\xff\xff\xff"))
    assert said == wire.message("R", b"\0\0\0\x0b")
    assert player.feed(wire.message("p", b"n,,n=,r=abc"))[9:].startswith(b"r=abc")


def test_md5() -> None:
    for credential in ("secret", md5_hash(b"secret", "app")):
        secret = client_secret("md5", credential, {})
        for proof in ("secret", md5_hash(b"secret", "app")):
            talk(secret, proof)
        with pytest.raises(ClientAuthError, match="password authentication failed"):
            talk(secret, "wrong")


def test_md5_with_a_scram_verifier_asks_for_scram() -> None:
    result, _ = talk(client_secret("md5", VERIFIER, {}), "secret")
    assert result.client_keys is not None


def test_scram_with_an_md5_hash_never_succeeds() -> None:
    secret = client_secret("scram-sha-256", md5_hash(b"secret", "app"), {})
    with pytest.raises(ClientAuthError, match="password authentication failed"):
        talk(secret, "secret")


@pytest.mark.parametrize("credential", CREDENTIALS)
def test_clear_password(credential: str) -> None:
    secret = client_secret("password", credential, {})
    for options in ({"tls": TLS}, {"local": True}):
        result, _ = talk(secret, "secret", **options)
        assert (result.client_keys is not None) == (credential == VERIFIER)
        with pytest.raises(ClientAuthError, match="password authentication failed"):
            talk(secret, "wrong", **options)


def test_clear_password_needs_tls_from_afar() -> None:
    with pytest.raises(ClientNotAdmitted, match="TLS is required"):
        talk(client_secret("password", "secret", {}), "secret")


def test_trust() -> None:
    here = client_secret("trust", None, {})
    talk(here, "", local=True)
    with pytest.raises(ClientNotAdmitted, match="from this machine only"):
        talk(here, "")
    talk(TRUST, "")


@pytest.mark.parametrize("method", ["scram-sha-256", "md5", "password"])
def test_unknown_user_and_wrong_password_look_the_same(method: str) -> None:
    """Each step has the same shape, and the error the same text."""

    def shapes(secret: ClientSecret) -> tuple[list[tuple[bytes, int]], str]:
        player = server(secret, local=True)
        said = [player.feed(wire.startup(APP))]
        proof = b"c=biws,r=%b,p=" + b"A" * 43 + b"="
        try:
            if method == "scram-sha-256":
                first = wire.text("SCRAM-SHA-256") + struct.pack("!I", 11) + b"n,,n=,r=abc"
                said.append(player.feed(wire.message("p", first)))
                nonce = said[-1].partition(b"r=")[2].partition(b",")[0]
                said.append(player.feed(wire.message("p", proof % nonce)))
            else:
                said.append(player.feed(wire.message("p", b"wrong\0")))
        except ClientAuthError as error:
            return [(part[:9], len(part)) for part in said], str(error)
        raise AssertionError("let in")

    known = shapes(client_secret(method, "secret", {}))
    assert shapes(client_secret(method, None, {})) == known
    assert shapes(client_secret(method, "", {})) == known


def test_unknown_user_is_asked_with_the_same_salt_each_time() -> None:
    nonce = counter()

    def salt(user: str) -> bytes:
        player = server(client_secret("scram-sha-256", None, {}), nonce=nonce)
        player.feed(wire.startup({"user": user}))
        first = wire.text("SCRAM-SHA-256") + struct.pack("!I", 11) + b"n,,n=,r=abc"
        return player.feed(wire.message("p", first)).partition(b"s=")[2]

    assert salt("ghost") == salt("ghost")
    assert salt("ghost") != salt("phantom")


@pytest.mark.parametrize("method", ["scram-sha-256", "md5", "password"])
@pytest.mark.parametrize(
    "answer",
    [
        wire.query("SELECT 1"),
        wire.TERMINATE,
        b"p\0\0\0\3",
        b"p\x7f\xff\xff\xff",
        b"p\xff\xff\xff\xff",
        b"p" + struct.pack("!I", codes.PASSWORD_LIMIT_BYTES + 1),
        wire.message("p", b""),
        wire.message("p", b"a\0b\0"),
        wire.message("p", b"abc"),
    ],
)
def test_answers_that_are_none(method: str, answer: bytes) -> None:
    player = server(client_secret(method, "secret", {}), local=True)
    player.feed(wire.startup(APP))
    with pytest.raises(ClientProtocolError):
        player.feed(answer)


def test_md5_response_of_another_salt() -> None:
    player = server(client_secret("md5", "secret", {}))
    player.feed(wire.startup(APP))
    stale = md5_response(md5_hash(b"secret", "app"), b"old!")
    with pytest.raises(ClientAuthError):
        player.feed(wire.message("p", stale + b"\0"))


def test_secrets_are_not_shown() -> None:
    shown = repr(client_secret("scram-sha-256", "hunter2", {"key": "hunter2"}))
    assert "hunter2" not in shown


# However it arrives.

SESSION = [wire.GSS_REQUEST, wire.startup({**APP, "options": "-c a=1"}), wire.message("p", b"no\0")]


@pytest.mark.parametrize("position", range(1, len(b"".join(SESSION))))
def test_every_split_point(position: int) -> None:
    whole = b"".join(SESSION)
    player = server(client_secret("password", md5_hash(b"no", "app"), {}), local=True)
    said = player.feed(whole[:position]) + player.feed(whole[position:])
    assert said == b"N" + wire.message("R", b"\0\0\0\3") + OK
    assert logged_in(player).options == {"a": "1"}
    assert player.unread == b""


def test_what_follows_the_password_is_left_unread() -> None:
    player = server()
    player.feed(wire.startup(APP) + wire.query("SELECT 1"))
    assert player.unread == wire.query("SELECT 1")


PIECES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([*SESSION, wire.SSL_REQUEST, wire.cancel(1, b"1234"), wire.TERMINATE]),
    st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=3).map(
        lambda sent: wire.startup({"user": "app", **sent})
    ),
    st.binary(max_size=20).map(lambda payload: wire.message("p", payload)),
)


@given(
    st.lists(PIECES, max_size=5),
    st.sampled_from(["scram-sha-256", "md5", "password", "trust"]),
    st.booleans(),
)
@settings(max_examples=300)
def test_garbage_raises_nothing_of_its_own(
    pieces: list[bytes], method: str, available: bool
) -> None:
    player = server(client_secret(method, VERIFIER, {}), available=available, local=True)
    try:
        for piece in pieces:
            player.feed(piece)
        player.end()
    except (ProxyError, EOFError):
        return
    assert player.done
    assert method == "trust" or isinstance(player.result, CancelRequest)
