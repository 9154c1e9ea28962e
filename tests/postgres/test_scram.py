"""SCRAM: RFC 7677's example, both sides against each other, and every way to cheat."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import (
    ClientAuthError,
    ClientNotAdmitted,
    ClientProtocolError,
    FeatureNotSupported,
    ProxyError,
    ServerProtocolError,
)
from proxy.postgres.scram import (
    MOST_ITERATIONS,
    SCRAM_SHA_256,
    SCRAM_SHA_256_PLUS,
    SaltedPasswords,
    ScramClient,
    ScramKeys,
    ScramServer,
    derive_keys,
    format_verifier,
    mock_keys,
    parse_verifier,
)

BINDING = hashlib.sha256(b"certificate").digest()
KEYS = derive_keys(b"secret", b"0123456789abcdef", 10)
STORED = replace(KEYS, client_key=None)
BOTH = [SCRAM_SHA_256_PLUS, SCRAM_SHA_256]


def server(
    keys: ScramKeys = STORED, binding: bytes | None = None, *, known: bool = True
) -> ScramServer:
    """Make the server's side with a fixed nonce."""
    return ScramServer(keys, b"s" * 18, binding, user="app", known=known)


def begun(binding: bytes | None = None, flag: bytes = b"n,,") -> tuple[ScramServer, bytes]:
    """Give a server past its first message, and that message."""
    one = server(binding=binding)
    mechanism = SCRAM_SHA_256_PLUS if flag.startswith(b"p") else SCRAM_SHA_256
    return one, one.first(mechanism, flag + b"n=,r=abc")


def exchange(one: ScramServer, other: ScramClient, keys: ScramKeys) -> ScramKeys:
    """Run a whole exchange; give the keys the server ends with."""
    first = one.first(other.mechanism, other.first())
    assert other.challenge(first) == (one._keys.salt, one._keys.iterations)
    signature, revealed = one.final(other.final(keys))
    other.verify(signature)
    return revealed


def test_rfc_7677_example_as_client() -> None:
    nonce = base64.b64decode("rOprNGfwEbeRWgbNEkqO")
    client = ScramClient([SCRAM_SHA_256], nonce, None)
    # The example has a user name; PostgreSQL's clients leave it empty.
    client._bare = b"n=user,r=rOprNGfwEbeRWgbNEkqO"
    salt, iterations = client.challenge(
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    )
    assert client.final(derive_keys(b"pencil", salt, iterations)) == (
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
        b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    )
    client.verify(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")


def test_rfc_7677_example_as_server() -> None:
    keys = derive_keys(b"pencil", base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="), 4096)
    one = server(replace(keys, client_key=None))
    one._nonce = b"%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    first = one.first(SCRAM_SHA_256, b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO")
    assert first == (
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    )
    signature, revealed = one.final(
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
        b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    )
    assert signature == b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
    assert revealed == keys


@given(
    st.binary(min_size=1, max_size=40),
    st.binary(min_size=1, max_size=40),
    st.booleans(),
    st.binary(min_size=1, max_size=32),
    st.binary(min_size=4, max_size=18),
)
def test_both_sides_agree(
    password: bytes, attempt: bytes, bound: bool, salt: bytes, nonce: bytes
) -> None:
    binding = BINDING if bound else None
    keys = derive_keys(password, salt, 2)
    stored = replace(keys, client_key=None)
    client = ScramClient(BOTH if bound else [SCRAM_SHA_256], nonce, binding)
    assert exchange(server(stored, binding), client, keys) == keys
    other = derive_keys(attempt, salt, 2)
    if other != keys:
        wrong = ScramClient(BOTH if bound else [SCRAM_SHA_256], nonce, binding)
        with pytest.raises(ClientAuthError, match="password authentication failed"):
            exchange(server(stored, binding), wrong, other)


def test_a_revealed_key_opens_a_server_with_the_same_verifier() -> None:
    revealed = exchange(server(), ScramClient([SCRAM_SHA_256], b"1234", None), KEYS)
    assert revealed.client_key is not None
    assert revealed.fits(STORED.salt, STORED.iterations)
    assert not revealed.fits(b"other salt", STORED.iterations)
    assert not STORED.fits(STORED.salt, STORED.iterations)
    assert exchange(server(), ScramClient([SCRAM_SHA_256], b"5678", None), revealed) == KEYS


def test_a_verifier_alone_proves_nothing() -> None:
    client = ScramClient([SCRAM_SHA_256], b"1234", None)
    client.challenge(server().first(client.mechanism, client.first()))
    with pytest.raises(ValueError, match="proves nothing"):
        client.final(STORED)


def test_the_right_proof_of_a_user_who_does_not_exist() -> None:
    client = ScramClient([SCRAM_SHA_256], b"1234", None)
    with pytest.raises(ClientAuthError, match="password authentication failed"):
        exchange(server(known=False), client, KEYS)


# Channel binding.


def test_what_is_offered_and_chosen() -> None:
    assert server().mechanisms == (SCRAM_SHA_256,)
    assert server(binding=BINDING).mechanisms == tuple(BOTH)
    assert ScramClient(BOTH, b"1234", BINDING).first().startswith(b"p=tls-server-end-point,,")
    assert ScramClient([SCRAM_SHA_256], b"1234", BINDING).first().startswith(b"y,,")
    assert ScramClient(BOTH, b"1234", None).first().startswith(b"n,,")
    for offered in ([], ["PLAIN"], [SCRAM_SHA_256_PLUS]):
        with pytest.raises(ServerProtocolError):
            ScramClient(offered, b"1234", None)


def test_another_certificate_in_between() -> None:
    client = ScramClient(BOTH, b"1234", b"impostor's".ljust(32))
    with pytest.raises(ClientNotAdmitted, match="channel binding check failed"):
        exchange(server(binding=BINDING), client, KEYS)


def test_a_list_from_which_plus_was_taken() -> None:
    client = ScramClient([SCRAM_SHA_256], b"1234", BINDING)
    with pytest.raises(ClientNotAdmitted, match="negotiation error"):
        exchange(server(binding=BINDING), client, KEYS)
    exchange(server(), ScramClient([SCRAM_SHA_256], b"1234", BINDING), KEYS)


@pytest.mark.parametrize(
    "binding", [b"biws", b"eSws", b"", b"*", b"cD10bHMtc2VydmVyLWVuZC1wb2ludCws"]
)
def test_binding_attribute_must_repeat_the_flag(binding: bytes) -> None:
    one, first = begun(BINDING, b"p=tls-server-end-point,,")
    nonce = first.split(b",")[0]
    with pytest.raises((ClientNotAdmitted, ClientProtocolError)):
        one.final(b"c=" + binding + b"," + nonce + b",p=" + base64.b64encode(bytes(32)))


# Malformed messages.


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (b"", ClientProtocolError),
        (b"n", ClientProtocolError),
        (b"n,", ClientProtocolError),
        (b"n,,", ClientProtocolError),
        (b"x,,n=,r=abc", ClientProtocolError),
        (b"p=tls-server-end-point,,n=,r=abc", ClientProtocolError),
        (b"n,a=admin,n=,r=abc", FeatureNotSupported),
        (b"n,,m=ext,n=,r=abc", FeatureNotSupported),
        (b"n,,n=", ClientProtocolError),
        (b"n,,r=abc", ClientProtocolError),
        (b"n,,n=,x=abc", ClientProtocolError),
        (b"n,,n=,r=", ClientProtocolError),
        (b"n,,n=,r=a b", ClientProtocolError),
        (b"n,,n=,r=\xff", ClientProtocolError),
    ],
)
def test_first_message_malformed(message: bytes, kind: type[ProxyError]) -> None:
    with pytest.raises(kind):
        server().first(SCRAM_SHA_256, message)


@pytest.mark.parametrize(
    "message",
    [b"n,,n=,r=abc", b"y,,n=,r=abc", b"p=tls-unique,,n=,r=abc", b"p=,,n=,r=abc"],
)
def test_first_message_of_plus_malformed(message: bytes) -> None:
    with pytest.raises(ClientProtocolError):
        server(binding=BINDING).first(SCRAM_SHA_256_PLUS, message)


@pytest.mark.parametrize("mechanism", ["", "PLAIN", "SCRAM-SHA-1", SCRAM_SHA_256_PLUS])
def test_mechanism_that_was_not_offered(mechanism: str) -> None:
    with pytest.raises(ClientProtocolError, match="invalid SASL authentication mechanism"):
        server().first(mechanism, b"n,,n=,r=abc")


def test_extensions_are_ignored() -> None:
    one = server()
    first = one.first(SCRAM_SHA_256, b"n,,n=whoever,r=abc,x=ignored")
    assert first.startswith(b"r=abc")
    nonce = first.split(b",")[0]
    with pytest.raises(ClientAuthError):
        one.final(b"c=biws," + nonce + b",x=ignored,p=" + base64.b64encode(bytes(32)))


PROOF = b",p=" + base64.b64encode(bytes(32))


@pytest.mark.parametrize(
    "make",
    [
        lambda _: b"",
        lambda _: b"c=biws",
        lambda nonce: b"c=biws," + nonce,
        lambda nonce: b"c=biws," + nonce + b",p=",
        lambda nonce: b"c=biws," + nonce + b",p=AAAA",
        lambda nonce: b"c=biws," + nonce + b",p=" + b"!" * 44,
        lambda nonce: b"c=biws," + nonce + b"x" + PROOF,
        lambda nonce: b"c=biws,r=abc" + PROOF,
        lambda nonce: b"c=biws" + PROOF,
        lambda nonce: nonce + b",c=biws" + PROOF,
        lambda nonce: b"c=????," + nonce + PROOF,
    ],
)
def test_final_message_malformed(make: object) -> None:
    one, first = begun()
    assert callable(make)
    with pytest.raises(ClientProtocolError):
        one.final(make(first.split(b",")[0]))


@given(st.binary(max_size=80), st.booleans())
def test_garbage_never_gets_in(garbage: bytes, bound: bool) -> None:
    binding = BINDING if bound else None
    for mechanism in BOTH:
        one = server(binding=binding)
        with pytest.raises(ProxyError):
            one.first(mechanism, garbage)
    one, _ = begun()
    with pytest.raises(ProxyError):
        one.final(garbage)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"r=MTIzNA==,s=c2FsdA==,i=1",
        b"r=other,s=c2FsdA==,i=1",
        b"r=MTIzNA==more,s=,i=1",
        b"r=MTIzNA==more,s=*,i=1",
        b"r=MTIzNA==more,s=c2FsdA==,i=0",
        b"r=MTIzNA==more,s=c2FsdA==,i=-1",
        b"r=MTIzNA==more,s=c2FsdA==,i=x",
        b"r=MTIzNA==more,s=c2FsdA==,i=99999999999999",
        b"r=MTIzNA==more,s=c2FsdA==,i=%d" % (MOST_ITERATIONS + 1),
        b"r=MTIzNA==more,s=c2FsdA==",
        b"s=c2FsdA==,r=MTIzNA==more,i=1",
        b"m=x,r=MTIzNA==more,s=c2FsdA==,i=1",
        b"e=other-error",
    ],
)
def test_server_first_malformed(message: bytes) -> None:
    with pytest.raises(ServerProtocolError):
        ScramClient([SCRAM_SHA_256], b"1234", None).challenge(message)


@pytest.mark.parametrize(
    "message", [b"", b"v=", b"v=*", b"e=x", b"v=" + base64.b64encode(bytes(32))]
)
def test_server_that_does_not_know_the_password(message: bytes) -> None:
    client = ScramClient([SCRAM_SHA_256], b"1234", None)
    client.challenge(server().first(client.mechanism, client.first()))
    client.final(KEYS)
    with pytest.raises(ServerProtocolError):
        client.verify(message)


def test_signature_before_a_proof() -> None:
    with pytest.raises(ServerProtocolError):
        ScramClient([SCRAM_SHA_256], b"1234", None).verify(b"v=")


# Stored verifiers, mock keys, the cache.


def test_verifier_round_trip() -> None:
    text = format_verifier(KEYS)
    assert text.startswith("SCRAM-SHA-256$10:")
    assert parse_verifier(text) == STORED


@pytest.mark.parametrize(
    "text",
    [
        "",
        "secret",
        "SCRAM-SHA-256$4096",
        "SCRAM-SHA-256$4096:salt",
        "SCRAM-SHA-256$0:c2FsdA==$" + "A" * 43 + "=:" + "A" * 43 + "=",
        "SCRAM-SHA-256$x:c2FsdA==$" + "A" * 43 + "=:" + "A" * 43 + "=",
        "SCRAM-SHA-256$1:?$" + "A" * 43 + "=:" + "A" * 43 + "=",
        "SCRAM-SHA-256$1:c2FsdA==$AAAA:" + "A" * 43 + "=",
        "SCRAM-SHA-1$1:c2FsdA==$" + "A" * 43 + "=:" + "A" * 43 + "=",
        "SCRAM-SHA-256$1:\xe9$a:b",
    ],
)
def test_no_verifier(text: str) -> None:
    assert parse_verifier(text) is None


def test_mock_keys_stay_the_same_for_a_user() -> None:
    one = mock_keys(b"process", "ghost")
    assert one == mock_keys(b"process", "ghost")
    assert one.salt != mock_keys(b"process", "phantom").salt
    assert one.salt != mock_keys(b"another process", "ghost").salt
    assert (len(one.salt), one.iterations) == (16, 4096)


def test_keys_are_derived_once() -> None:
    cache = SaltedPasswords(limit=2)
    first = cache.keys(b"secret", b"salt", 10)
    assert cache.keys(b"secret", b"salt", 10) is first
    assert cache.keys(b"other", b"salt", 10, generation=1) != first
    assert cache.keys(b"secret", b"salt", 10) is first
    cache.keys(b"secret", b"salt", 11)
    cache.keys(b"secret", b"salt", 12)
    again = cache.keys(b"secret", b"salt", 10)
    assert again is not first
    assert again == first


def test_secrets_are_not_shown() -> None:
    shown = repr(KEYS)
    assert "client_key" not in shown
    assert "stored_key" not in shown
