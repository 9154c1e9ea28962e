"""Every error the proxy raises on purpose becomes an ErrorResponse."""

from __future__ import annotations

import pytest

from proxy.errors import BorrowTimeout, ProxyError, ServerRefused
from proxy.postgres.reply import error_reply
from tests.support import messages as wire


def everything(kind: type[ProxyError]) -> list[type[ProxyError]]:
    """Give a class and all below it."""
    return [kind, *(deeper for below in kind.__subclasses__() for deeper in everything(below))]


@pytest.mark.parametrize("kind", [k for k in everything(ProxyError) if k is not ServerRefused])
def test_fields(kind: type[ProxyError]) -> None:
    reply = error_reply(kind("what happened", detail="for the log only"))
    said = wire.Message(chr(reply[0]), reply[5:])
    severity = "FATAL" if kind.fatal else "ERROR"
    assert said.fields == {"S": severity, "V": severity, "C": kind.sqlstate, "M": "what happened"}
    assert len(kind.sqlstate) == 5


def test_an_error_that_is_not_fatal() -> None:
    assert b"SERROR\0" in error_reply(BorrowTimeout("late"))


def test_what_a_server_said_passes_unchanged() -> None:
    response = wire.message("E", b"SFATAL\0Mweird \xff\0\0")
    assert error_reply(ServerRefused("weird", response=response, code="XX000")) == response
