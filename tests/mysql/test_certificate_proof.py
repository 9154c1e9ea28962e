"""Proofs of a certificate, as MariaDB 11.8.9 made them for the password "secret"."""

from __future__ import annotations

import pytest

from proxy.mysql import auth
from proxy.mysql.certificate_proof import is_proven_by, proof
from proxy.mysql.ed25519 import SigningKey
from proxy.mysql.parsec import derive

EXT_SALT = bytes.fromhex("500081de1414164335390827a876fb401e948841")
FINGERPRINT = bytes.fromhex("d745f1006d1b556b60a430a892966498197c815b74b618dd5b559f603493da25")


@pytest.mark.parametrize(
    ("stored", "nonce", "message"),
    [
        (
            auth.native_stored(b"secret"),
            rb'WG?F${dbA\-iKx>k"bI)',
            b"\x012546CA287291979C0865B6D7A56C34440C5C2241635116DE6DB49C7A2B5019F4",
        ),
        (
            SigningKey(b"secret").public,
            b"P0;xm9t^Wy})P8fzSpZP",
            b"\x01C95553129BABEE0F1E2553631CD5A03B7167B7FB06B53EC7F3EE9736CBA94FEE",
        ),
        (
            EXT_SALT + derive(b"secret", EXT_SALT).public,
            b"rXC%-S;m5_^=QauHEdFo",
            b"\x01F0F9024E91E7A11C4C235375A67BE8B2ACAB6E18BD6CCB3233B79A5B29ECC74B",
        ),
    ],
    ids=["mysql_native_password", "client_ed25519", "parsec"],
)
def test_a_proof_is_the_servers(stored: bytes, nonce: bytes, message: bytes) -> None:
    assert proof(stored, nonce, FINGERPRINT) == message


@pytest.mark.parametrize(
    ("version", "proven"),
    [
        ("11.8.9-MariaDB-4 from Debian", True),
        ("11.4.2-MariaDB", True),
        ("5.5.5-10.11.19-MariaDB-0+deb12u1", False),
        ("11.3.2-MariaDB", False),
        ("9.7.0", False),
    ],
)
def test_which_servers_prove_their_certificate(version: str, proven: bool) -> None:
    assert is_proven_by(version) == proven
