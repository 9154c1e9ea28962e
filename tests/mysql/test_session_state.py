"""What a session carries, apart from any server."""

from __future__ import annotations

import pytest

from proxy.mysql.session_state import SESSION_POOLING, SessionState
from tests.mysql.streams import client_stream, ok, pool_state, query, server_stream


def test_a_reset_keeps_the_schema_and_session_pooling() -> None:
    shared = pool_state()
    state = SessionState(shared, b"app")
    state.schema, state.insert_id, state.pins = b"other", 5, 2
    state.permanent = SESSION_POOLING
    settings = shared.settings.intern({"sql_mode": "ANSI"})
    state.reset(settings)
    assert (state.schema, state.insert_id, state.pins) == (b"other", 0, 0)
    assert state.settings is settings
    assert state.pin_reason() == SESSION_POOLING


@pytest.mark.parametrize(
    ("name", "expected"),
    [(b"row_count", 0), (b"found_rows", None), (b"warning_count", 0), (b"error_count", 0)],
)
def test_the_outcome_of_nothing(name: bytes, expected: int | None) -> None:
    assert SessionState(pool_state(), b"").outcome(name) == expected


def test_messages_that_were_not_asked_for_are_not_counted() -> None:
    state = SessionState(pool_state(), b"")
    state.warnings = 3
    assert state.outcome(b"error_count") is None


def test_a_connection_knows_the_last_statement_of_its_last_session_alone() -> None:
    shared = pool_state()
    server, other = server_stream(shared), server_stream(shared)
    client = client_stream(shared)
    client.attach(server)
    client.receive(query("DO 1"))
    server.receive(ok())
    assert client.session.is_fresh_on(server)
    assert not client.session.is_fresh_on(other)
    assert not client_stream(shared).session.is_fresh_on(server)
