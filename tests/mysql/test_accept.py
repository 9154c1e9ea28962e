"""Clients that log in, played: what they are told, and who is let in."""

from __future__ import annotations

import secrets
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import (
    BadHandshake,
    ClientAuthError,
    ClientNotAdmitted,
    ClientProtocolError,
    OldAuthentication,
    ProxyError,
    TlsRequired,
)
from proxy.mysql import auth
from proxy.mysql import handshake as wire
from proxy.mysql.accept import ClientLogin, accept, change_user
from proxy.mysql.asking import LOGIN_LIMIT_BYTES, client_secret
from proxy.mysql.capabilities import LOGIN_CAPABILITIES, ClientFacts, TargetProfile
from proxy.mysql.constants import (
    CLIENT_COMPRESS,
    CLIENT_CONNECT_WITH_DB,
    CLIENT_FOUND_ROWS,
    CLIENT_PLUGIN_AUTH,
    CLIENT_SSL,
)
from proxy.mysql.key_pair import KeyPair
from proxy.mysql.lenenc import packet
from proxy.mysql.login import ServerLogin, ServerSecret, login
from proxy.mysql.rsa import encrypt
from proxy.wire.dialect import Arrival
from proxy.wire.steps import Fetch, FetchTarget, TlsFacts
from tests.support.play import Player

TLS = TlsFacts("TLSv1.3", "cipher", b"", b"")
SERVER = LOGIN_CAPABILITIES | CLIENT_FOUND_ROWS | CLIENT_COMPRESS | CLIENT_SSL
PASSWORD = "sécret"
METHODS = (
    "",
    "caching_sha2_password",
    "mysql_native_password",
    "client_ed25519",
    "parsec",
    "sha256_password",
)
KEYS = KeyPair()


class NoKeys(KeyPair):
    """A proxy without the package that makes keys."""

    def public_key(self) -> bytes:
        """Give no key."""
        return b""


def profile(plugin: str = auth.CACHING_SHA2, version: str = "9.7.0-test") -> TargetProfile:
    """What a server says of itself."""
    return TargetProfile(version, SERVER, 255, plugin)


class Door:
    """A proxy that knows the user "app"."""

    def __init__(
        self,
        method: str = "",
        *,
        plugin: str = auth.CACHING_SHA2,
        tls: bool = True,
        tls_required: bool = False,
        local: bool = False,
        keys: KeyPair | None = None,
        version: str = "9.7.0-test",
        facts: TlsFacts = TLS,
    ) -> None:
        self.method = method
        self.profile = profile(plugin, version)
        self.arrival = Arrival(
            tls_available=tls,
            tls_required=tls_required,
            direct_tls=False,
            local=local,
            host="10.0.0.9",
            number=4711,
        )
        self.asked: list[Fetch] = []
        conversation = accept(self.arrival, secrets.token_bytes, keys or KEYS)
        self.player = Player(conversation, tls=facts, fetch=self.fetch)

    def fetch(self, fetch: Fetch | FetchTarget) -> object:
        """Answer as a gateway does."""
        if isinstance(fetch, FetchTarget):
            return self.profile
        self.asked.append(fetch)
        return client_secret(self.method, PASSWORD if fetch.user == "app" else None, {})


def visit(
    door: Door,
    user: str = "app",
    password: str = PASSWORD,
    *,
    mode: str = "disable",
    database: str = "db",
) -> tuple[ClientLogin, Player[ServerLogin]]:
    """Log in with our own client. Raises what the door raises."""
    client = Player(
        login(
            user=user,
            database=database,
            pool_capabilities=CLIENT_FOUND_ROWS,
            collation=45,
            tls_mode=mode,
            unix_socket=False,
            secret=ServerSecret(password=password.encode()),
            nonce=secrets.token_bytes,
        ),
        tls=TLS,
    )
    sent = client.feed(door.player.opening)
    clear = b"".join(client.tls_after)
    answer = door.player.feed(clear) + door.player.feed(sent.removeprefix(clear))
    while answer and not door.player.done:
        answer = door.player.feed(client.feed(answer))
    return door.player.result, client


@pytest.mark.parametrize("mode", ["disable", "require"])
@pytest.mark.parametrize("plugin", [auth.CACHING_SHA2, auth.NATIVE])
@pytest.mark.parametrize("method", METHODS)
def test_the_right_password(method: str, plugin: str, mode: str) -> None:
    door = Door(method, plugin=plugin)
    found, _ = visit(door, mode=mode)
    assert (found.user, found.database) == ("app", "db")
    assert door.asked == [Fetch("app", "db")]
    assert found.facts.collation == 45
    assert found.facts.capabilities & CLIENT_FOUND_ROWS
    assert not found.facts.capabilities & CLIENT_COMPRESS
    assert bool(found.facts.tls) == (mode == "require")
    switched = method not in ("", plugin)
    fast = (method or plugin) == auth.CACHING_SHA2
    more = fast + 2 * ((method == auth.SHA256 and mode == "disable") or method == auth.PARSEC)
    assert found.facts.sequence == 2 + (mode == "require") + 2 * switched + more


@pytest.mark.parametrize("mode", ["disable", "require"])
@pytest.mark.parametrize("method", METHODS)
def test_an_unknown_user_looks_like_a_wrong_password(method: str, mode: str) -> None:
    told = []
    for user, password in (("app", "wrong"), ("nobody", PASSWORD), ("nobody", "")):
        door = Door(method)
        with pytest.raises(ClientAuthError) as caught:
            visit(door, user, password, mode=mode)
        told.append((str(caught.value).replace(user, "?"), door.arrival.sequence))
    assert told[0] == told[1]
    # Where MariaDB uses parsec, it says so of every password.
    used = "NO" if method == auth.PARSEC else "YES"
    assert told[0][0] == f"Access denied for user '?'@'10.0.0.9' (using password: {used})"
    # With its ed25519 plugin, clients sign with an empty password, too.
    assert told[2][0].endswith("(using password: NO)") == (method != auth.ED25519)


def second_thoughts(door: Door, *answers: bytes) -> list[bytes]:
    """Scramble with a wrong nonce, then answer what is asked; gives what is sent."""
    sent = [respond(door, scrambled(PASSWORD.encode(), bytes(20)))]
    sequence = 3
    for answer in answers:
        sent.append(door.player.feed(packet(answer, sequence)))
        sequence += 2
    return [part[4:] for part in sent]


def scrambled(password: bytes, nonce: bytes) -> wire.HandshakeResponse41:
    """A client's response with caching_sha2_password."""
    scramble = auth.sha2_scramble(password, nonce)
    plugin = auth.CACHING_SHA2
    return wire.HandshakeResponse41(LOGIN_CAPABILITIES, 0, 45, b"app", scramble, b"", plugin, b"")


def mistaken(door: Door) -> bytes:
    """Scramble with a wrong nonce and hear of that; gives the right one."""
    nonce = wire.read_handshake(door.player.opening[4:]).nonce
    response = wire.response_payload(scrambled(PASSWORD.encode(), bytes(20)))
    assert door.player.feed(packet(response, 1))[4:] == b"\x01\x04"
    return nonce


def test_whoever_scrambles_with_a_wrong_nonce_can_send_the_password_encrypted() -> None:
    door = Door()
    nonce = mistaken(door)
    key = door.player.feed(packet(b"\x02", 3))[5:]
    secret = auth.obscured(PASSWORD.encode(), nonce)
    door.player.feed(packet(encrypt(secret, key, secrets.token_bytes), 5))
    assert door.player.result.facts.sequence == 6
    # Who has the key already does not ask for it.
    again = Door()
    secret = auth.obscured(PASSWORD.encode(), mistaken(again))
    again.player.feed(packet(encrypt(secret, key, secrets.token_bytes), 3))
    assert again.player.result.user == "app"


def test_whoever_scrambles_with_a_wrong_nonce_can_send_the_password_where_nobody_sees_it() -> None:
    door = Door(local=True)
    assert second_thoughts(door, PASSWORD.encode() + b"\0") == [b"\x01\x04", b""]
    assert door.player.result.user == "app"


@pytest.mark.parametrize("local", [False, True])
@pytest.mark.parametrize("answers", [(b"wrong\0",), (b"",), (b"\x02", b""), (b"\x02", bytes(256))])
def test_the_password_itself_can_be_wrong(answers: tuple[bytes, ...], local: bool) -> None:
    with pytest.raises(ClientAuthError, match="using password: YES"):
        second_thoughts(Door(local=local), *answers)


def test_a_password_in_clear_is_not_taken_from_the_network() -> None:
    with pytest.raises(ClientAuthError):
        second_thoughts(Door(), PASSWORD.encode() + b"\0")


def test_without_a_key_there_is_none_to_be_had() -> None:
    for answer in (b"\x02", bytes(256)):
        with pytest.raises(ClientAuthError):
            second_thoughts(Door(keys=NoKeys()), answer)


def test_a_scramble_of_impossible_length_is_not_asked_about() -> None:
    response = replace(scrambled(b"", b""), auth_response=bytes(31))
    with pytest.raises(ClientAuthError):
        respond(Door(), response)


def test_no_password_is_not_the_empty_password() -> None:
    assert not client_secret("", "", {}).known
    with pytest.raises(ClientAuthError):
        visit(Door(), password="")


def test_the_greeting_is_the_targets() -> None:
    door = Door(tls=False)
    sent = door.player.opening
    greeting = wire.read_handshake(sent[4:])
    assert sent[3] == 0
    assert greeting.server_version == "9.7.0-test"
    assert greeting.thread_id == 4711
    assert greeting.collation == 255
    assert greeting.plugin == auth.CACHING_SHA2
    assert greeting.capabilities == SERVER & ~CLIENT_COMPRESS & ~CLIENT_SSL
    assert wire.read_handshake(Door().player.opening[4:]).capabilities & CLIENT_SSL


def test_a_target_with_a_plugin_of_its_own_is_greeted_for_with_another() -> None:
    sent = Door(plugin="client_ed25519").player.opening
    assert wire.read_handshake(sent[4:]).plugin == auth.CACHING_SHA2


def test_tls_can_be_required() -> None:
    with pytest.raises(TlsRequired, match="insecure transport"):
        visit(Door(tls_required=True))
    assert visit(Door(tls_required=True), mode="require")[0].facts.tls is TLS


def test_a_password_in_clear_needs_tls() -> None:
    assert visit(Door("password"), mode="require")[0].user == "app"
    with pytest.raises(TlsRequired):
        visit(Door("password"), mode="disable")
    with pytest.raises(ClientAuthError):
        visit(Door("password"), password="wrong", mode="require")


def test_trust_is_for_this_machine_unless_it_is_for_all() -> None:
    assert visit(Door("trust", local=True), "nobody", "")[0].user == "nobody"
    with pytest.raises(ClientNotAdmitted, match="this machine only"):
        visit(Door("trust"), "nobody", "")
    assert visit(Door("trust-anywhere"), "nobody", "")[0].user == "nobody"


def test_no_database() -> None:
    found, _ = visit(Door(), database="")
    assert found.database == ""
    assert not found.facts.capabilities & CLIENT_CONNECT_WITH_DB


def respond(door: Door, response: wire.HandshakeResponse41 | bytes, sequence: int = 1) -> bytes:
    """Answer the greeting; gives what is sent."""
    payload = response if isinstance(response, bytes) else wire.response_payload(response)
    assert door.player.opening
    return door.player.feed(packet(payload, sequence))


def response_of(capabilities: int, user: bytes = b"app") -> wire.HandshakeResponse41:
    """A client's answer with a wrong password."""
    return wire.HandshakeResponse41(capabilities, 0, 45, user, bytes(20), b"", "", b"")


def test_a_client_that_knows_one_plugin_only() -> None:
    old = LOGIN_CAPABILITIES & ~CLIENT_PLUGIN_AUTH
    with pytest.raises(OldAuthentication, match="consider upgrading"):
        respond(Door("caching_sha2_password"), response_of(old))
    with pytest.raises(ClientAuthError, match="Access denied"):
        respond(Door("mysql_native_password"), response_of(old))


@pytest.mark.parametrize(
    ("payload", "sequence"),
    [
        (b"", 1),
        (b"hello", 1),
        (bytes(40), 1),
        (wire.response_payload(response_of(LOGIN_CAPABILITIES)), 2),
        (wire.response_payload(response_of(LOGIN_CAPABILITIES, b"\xff")), 1),
        (wire.response_payload(response_of(LOGIN_CAPABILITIES))[:50], 1),
        (bytes(LOGIN_LIMIT_BYTES + 1), 1),
    ],
)
def test_bad_handshakes(payload: bytes, sequence: int) -> None:
    door = Door()
    with pytest.raises(BadHandshake):
        respond(door, payload, sequence)
    assert door.arrival.sequence == sequence + 1, "the next packet is the error"


def test_tls_that_is_not_offered_cannot_be_begun() -> None:
    request = wire.ssl_request_payload(LOGIN_CAPABILITIES | CLIENT_SSL, 0, 45)
    with pytest.raises(BadHandshake, match="TLS is not offered"):
        respond(Door(tls=False), request)


def test_a_client_that_leaves() -> None:
    door = Door()
    with pytest.raises(EOFError):
        door.player.end()


@given(st.lists(st.tuples(st.integers(0, 4), st.binary(max_size=80)), max_size=4))
def test_any_bytes_end_in_an_error_of_the_clients(packets: list[tuple[int, bytes]]) -> None:
    door = Door()
    assert door.player.opening
    try:
        for sequence, payload in packets:
            door.player.feed(packet(payload, sequence))
    except ClientProtocolError:
        return
    except ClientAuthError:
        assert door.asked
        return
    assert not door.player.done


def change(facts: ClientFacts, door: Door) -> Player[ClientLogin]:
    """Begin to change the user to "app" in the middle of a session."""
    door.arrival.sequence = 1
    message = wire.ChangeUser(b"app", b"stale", b"db2", 8, auth.NATIVE, b"")
    payload = wire.change_user_payload(message, facts.capabilities)
    conversation = change_user(door.arrival, facts, payload, secrets.token_bytes, KEYS)
    return Player(conversation, fetch=door.fetch)


def changed(method: str, password: str, facts: ClientFacts) -> Player[ClientLogin]:
    """Change the user to "app"."""
    player = change(facts, Door(method))
    request = wire.read_auth_switch(player.opening[4:])
    scramble = {
        auth.CACHING_SHA2: partial(auth.sha2_scramble),
        auth.NATIVE: partial(auth.native_scramble),
    }[request.plugin]
    sent = player.feed(packet(scramble(password.encode(), request.data), 2))
    if sent[4:] == b"\x01\x04":
        player.feed(packet(password.encode() + b"\0", 4))
    return player


@pytest.mark.parametrize("method", ["caching_sha2_password", "mysql_native_password"])
def test_a_change_of_user_authenticates_again(method: str) -> None:
    facts = ClientFacts(SERVER, 0, 45)
    found = changed(method, PASSWORD, facts).result
    assert (found.user, found.database, found.facts.collation) == ("app", "db2", 8)
    assert found.facts.sequence == (4 if method == auth.CACHING_SHA2 else 3)
    with pytest.raises(ClientAuthError):
        changed(method, "wrong", facts)


def test_a_change_of_user_may_be_answered_by_the_nonce_of_the_login() -> None:
    # MariaDB's client library scrambles with it, whatever it is asked with.
    door = Door("mysql_native_password")
    found, _ = visit(door)
    facts = found.facts
    for _ in range(2):
        player = change(facts, door)
        assert wire.read_auth_switch(player.opening[4:]).data == facts.nonce
        player.feed(packet(auth.native_scramble(PASSWORD.encode(), facts.nonce), 2))
        assert player.result.facts.nonce == facts.nonce
        facts = player.result.facts


def test_a_malformed_change_of_user_is_refused() -> None:
    door = Door()
    conversation = change_user(door.arrival, ClientFacts(SERVER, 0, 45), b"\x11", bytes, KEYS)
    with pytest.raises(ProxyError, match="Bad handshake"):
        Player(conversation, fetch=door.fetch)
