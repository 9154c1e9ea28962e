"""Errors as MySQL clients see them."""

from __future__ import annotations

from proxy.errors import BorrowTimeout, ClientAuthError, ServerRefused
from proxy.mysql.messages import Err, err_payload, read_err
from proxy.mysql.reply import error_packet, error_payload


def test_an_error_has_the_code_and_the_sqlstate_that_mysql_gives_it() -> None:
    error = ClientAuthError("Access denied for user 'a'@'b' (using password: YES)")
    assert read_err(error_payload(error)) == Err(1045, "28000", str(error).encode())
    assert read_err(error_payload(BorrowTimeout("late"))) == Err(1040, "08004", b"late")


def test_what_a_server_said_at_login_is_passed_on() -> None:
    response = err_payload(1049, "42000", "Unknown database 'x'")
    error = ServerRefused("Unknown database 'x'", response=response, code="42000")
    assert error_payload(error) == response


def test_a_packet_has_its_sequence_id() -> None:
    raw = error_packet(ClientAuthError("no"), 2)
    assert raw[:4] == bytes((len(raw) - 4, 0, 0, 2))
