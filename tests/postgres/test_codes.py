"""Codes against those of the tests' own encoder, which was written apart."""

from __future__ import annotations

from proxy.postgres import codes
from tests.support import messages as wire


def test_requests() -> None:
    assert codes.CANCEL_REQUEST == wire.CANCEL_CODE
    assert codes.SSL_REQUEST == wire.SSL_CODE
    assert codes.GSSENC_REQUEST == wire.GSS_CODE
    assert codes.PROTOCOL_MAJOR << 16 | codes.NEWEST_MINOR == wire.PROTOCOL_3_2


def test_messages() -> None:
    assert bytes(
        [
            codes.AUTHENTICATION,
            codes.BACKEND_KEY_DATA,
            codes.NEGOTIATE_PROTOCOL_VERSION,
            codes.PASSWORD_MESSAGE,
        ]
    ) == (b"RKvp")
