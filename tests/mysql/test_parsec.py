"""MariaDB's plugin ``parsec``, on what MariaDB 11.8.9 and its client said to each other."""

from __future__ import annotations

import base64

import pytest

from proxy.errors import ProtocolError
from proxy.mysql.parsec import answer, derive, ext_salt, is_answer

PASSWORD = "päss".encode()
STORED = "P0:Lw0J3t/E+PASdV9I80xYKw0G:beSC/Qj6h6j4r2LMQMYfs4cHIaRTq5ZW5ISUhzkkPQE"
"""What the server keeps of it: ext-salt and public key."""
EXT_SALT = bytes.fromhex("50002f0d09dedfc4f8f012755f48f34c582b0d06")
SCRAMBLE = bytes.fromhex("b5b2797373383a342bc4dc37e8dbc226975a5479971705e3cde932a8ae06fb56")
ANSWER = bytes.fromhex(
    "ac841c6e492d26bb484f6dcd523034d5262010c9a8aafb58f6ad9660bfd9e77a"
    "d8649c74c6aaae2b4ad937d5b8e17a45b6968deab273a65bb9bc1b574b4e981f"
    "7aee056c522d5771f69e8a0235e1359bcd8f06b9f4917a821ae205879263a208"
)


def test_the_key_is_the_one_that_the_server_has_stored() -> None:
    _, salt, public = STORED.split(":")
    assert ext_salt(base64.b64decode(salt)) == EXT_SALT
    assert derive(PASSWORD, EXT_SALT).public == base64.b64decode(public + "=")


def test_the_answer_is_the_one_that_the_client_gave() -> None:
    assert answer(derive(PASSWORD, EXT_SALT), SCRAMBLE, ANSWER[:32]) == ANSWER


def test_an_answer_is_that_of_one_password_and_scramble() -> None:
    key = derive(PASSWORD, EXT_SALT)
    assert is_answer(key, SCRAMBLE, ANSWER)
    assert not is_answer(key, SCRAMBLE[::-1], ANSWER)
    assert not is_answer(derive(b"wrong", EXT_SALT), SCRAMBLE, ANSWER)
    assert not is_answer(key, SCRAMBLE, ANSWER[:-1])
    assert not is_answer(key, SCRAMBLE, ANSWER + b"\0")
    assert not is_answer(key, SCRAMBLE, b"")
    assert not is_answer(key, SCRAMBLE, ANSWER[1:] + ANSWER[:1])


@pytest.mark.parametrize(
    "wrong",
    [b"", EXT_SALT[:-1], EXT_SALT + b"\0", b"S" + EXT_SALT[1:], b"P\x04" + EXT_SALT[2:]],
    ids=["empty", "short", "long", "another function", "too many iterations"],
)
def test_another_ext_salt_is_not_followed(wrong: bytes) -> None:
    with pytest.raises(ProtocolError, match="ext-salt"):
        derive(PASSWORD, wrong)


def test_iterations_make_another_key() -> None:
    salt = EXT_SALT[2:]
    keys = {derive(PASSWORD, bytes((0x50, doublings)) + salt).public for doublings in range(4)}
    assert len(keys) == 4
