"""Interned settings, quoting, and the query that replays them on a real server."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from proxy.postgres.settings import (
    Settings,
    SettingsTable,
    quote_literal,
    quote_name,
    replay_query,
)
from tests.support import messages as wire
from tests.support.wire import WireClient, connect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.servers import PostgresServer

VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)
NASTY = (
    "", " ", "'", "''", '"', "\\", "\\'", "'; DROP TABLE t; --", "E'x'", "$$", "%s", "{}",
    "tab\tnew\nline\r", "été", "日本語", "🐘'\\", "\x7f", "/* c */", "NULL", "default",
)  # fmt: skip


@pytest.fixture(scope="module")
def client(server: PostgresServer) -> Iterator[WireClient]:
    with connect(server.host, server.port) as connected:
        yield connected


def run(client: WireClient, query: bytes) -> list[list[bytes | None]]:
    got = client.exchange(wire.query(query))
    assert wire.states(got) == [], got
    return wire.rows(got)


def value(client: WireClient, expression: bytes) -> str:
    found = run(client, b"SELECT pg_catalog.encode(convert_to(" + expression + b",'UTF8'),'hex')")
    assert found[0][0] is not None
    return bytes.fromhex(found[0][0].decode()).decode()


def setting(client: WireClient, name: str) -> str:
    return value(client, b"pg_catalog.current_setting(" + quote_literal(name) + b",true)")


def replay(client: WireClient, old: Settings, new: Settings, **baseline: str) -> None:
    query = replay_query(old, new, baseline)
    assert query.isascii()
    if query:
        run(client, query)


# Interning.


def test_equal_settings_are_one_object() -> None:
    table = SettingsTable()
    one = table.intern({"a": "1", "b": "2"})
    assert table.intern({"b": "2", "a": "1"}) is one
    assert table.intern({"a": "1"}) is not one
    assert table.intern({}) is table.none


def test_updated() -> None:
    table = SettingsTable()
    one = table.intern({"a": "1", "b": "2"})
    assert table.updated(one, {"a": None, "b": "3", "c": "4"}).values == {"b": "3", "c": "4"}
    assert table.updated(one, {"missing": None}) is one
    assert one.values == {"a": "1", "b": "2"}


def test_settings_that_nobody_has_are_forgotten() -> None:
    table = SettingsTable()
    kept = table.intern({"a": "1"})
    for number in range(100):
        table.intern({"a": str(number + 2)})
    gc.collect()
    assert len(table) == 2
    assert table.intern({"a": "1"}) is kept


# Quoting.


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("plain", b"'plain'"),
        ("it's", b"'it''s'"),
        ("a\\b'c", b"E'a\\\\b''c'"),
    ],
)
def test_quote_literal(text: str, quoted: bytes) -> None:
    assert quote_literal(text) == quoted


def test_an_encoding_name_cannot_break_out() -> None:
    assert b"x);DROP" in quote_literal("é", "x');DROP\\")
    assert quote_literal("é", "x');DROP\\").count(b"'") == 6


@pytest.mark.parametrize(
    ("name", "quoted"), [("a", b'"a"'), ("a.b", b'"a"."b"'), ('a"b.c', b'"a""b"."c"')]
)
def test_quote_name(name: str, quoted: bytes) -> None:
    assert quote_name(name) == quoted


@given(VALUES)
def test_quoted_literals_are_ascii(text: str) -> None:
    assert quote_literal(text).isascii()


@pytest.mark.parametrize("standard", ["on", "off"])
@pytest.mark.parametrize("encoding", ["UTF8", "LATIN1", "SJIS", "SQL_ASCII"])
def test_a_literal_means_the_same_whatever_the_connection(
    client: WireClient, standard: str, encoding: str
) -> None:
    """``SJIS`` has characters whose second byte is a backslash."""
    run(client, f"SET standard_conforming_strings={standard};SET NAMES '{encoding}'".encode())
    try:
        run(client, b"SET escape_string_warning = off")
        for text in NASTY:
            assert value(client, quote_literal(text)) == text
    finally:
        run(client, b"DISCARD ALL")


@hypothesis_settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=VALUES)
def test_any_text_is_read_back(client: WireClient, text: str) -> None:
    assert value(client, quote_literal(text)) == text


# Replay.


def test_nothing_to_replay() -> None:
    table = SettingsTable()
    one = table.intern({"a.b": "1"})
    assert replay_query(one, one, {}) == b""
    assert replay_query(table.none, table.none, {"a.b": "1"}) == b""


def test_only_the_difference_is_replayed() -> None:
    table = SettingsTable()
    old = table.intern({"a.b": "1", "c.d": "2", "e.f": "3"})
    new = table.intern({"a.b": "1", "c.d": "4"})
    assert replay_query(old, new, {}) == (
        b"RESET \"e\".\"f\";SELECT pg_catalog.set_config('c.d','4',false)"
    )


def test_the_role_is_reset_first_and_set_last() -> None:
    table = SettingsTable()
    old = table.intern({"a.b": "1", "role": "x", "c.d": "2"})
    gone = replay_query(old, table.none, {})
    assert gone.startswith(b'RESET "role";')
    assert gone.count(b"RESET") == 3
    made = replay_query(table.none, old, {})
    assert made.endswith(b"pg_catalog.set_config('role','x',false)")
    assert made.count(b"set_config") == 3


def test_a_value_goes_back_to_the_baseline() -> None:
    table = SettingsTable()
    changed = table.intern({"work_mem": "9MB", "a.b": "1"})
    query = replay_query(changed, table.none, {"work_mem": "5MB", "other.setting": "x"})
    assert query == b"RESET \"a\".\"b\";SELECT pg_catalog.set_config('work_mem','5MB',false)"


def test_a_discarded_connection_gets_the_baseline_again() -> None:
    table = SettingsTable()
    baseline = {"work_mem": "5MB"}
    discarded = table.intern(dict.fromkeys(baseline, ""))
    query = replay_query(discarded, table.none, baseline)
    assert query == b"SELECT pg_catalog.set_config('work_mem','5MB',false)"


@pytest.mark.parametrize("text", NASTY)
def test_values_arrive(client: WireClient, text: str) -> None:
    table = SettingsTable()
    wanted = table.intern({"app.tenant": text, "application_name": "plain"})
    replay(client, table.none, wanted)
    assert setting(client, "app.tenant") == text
    assert setting(client, "application_name") == "plain"
    replay(client, wanted, table.none)
    assert setting(client, "app.tenant") == ""
    assert setting(client, "application_name") == ""


@pytest.mark.parametrize("encoding", ["LATIN1", "LATIN9", "SQL_ASCII"])
def test_values_in_the_encoding_of_their_session(client: WireClient, encoding: str) -> None:
    """Values came in the session's encoding, so their bytes are in it."""
    table = SettingsTable()
    python = {"LATIN1": "latin-1", "LATIN9": "iso8859-15", "SQL_ASCII": "utf-8"}[encoding]
    raw = "naïve".encode(python).decode("utf-8", "surrogateescape")
    wanted = table.intern({"client_encoding": encoding, "app.word": raw})
    replay(client, table.none, wanted)
    try:
        assert setting(client, "client_encoding") == encoding
        assert setting(client, "app.word") == "naïve"
    finally:
        replay(client, wanted, table.none)
    assert setting(client, "client_encoding") == "UTF8"


@pytest.mark.parametrize("name", ["app.naïve", "app.under_score", "a.b.c", "_x.y$1"])
def test_names_arrive(client: WireClient, name: str) -> None:
    table = SettingsTable()
    wanted = table.intern({name: "x"})
    replay(client, table.none, wanted)
    assert setting(client, name) == "x"
    replay(client, wanted, table.none)
    assert setting(client, name) == ""


def test_a_name_goes_back_whatever_the_encoding_before(client: WireClient) -> None:
    table = SettingsTable()
    old = table.intern({"client_encoding": "LATIN1", "app.naïve": "x"})
    run(client, b"SELECT set_config('client_encoding','LATIN1',false)")
    run(client, b"SELECT set_config(" + quote_literal("app.naïve") + b",'x',false)")
    replay(client, old, table.none)
    assert setting(client, "app.naïve") == ""
    assert setting(client, "client_encoding") == "UTF8"


def test_a_name_cannot_break_out(client: WireClient) -> None:
    """The server refuses such names; what matters is that nothing else is run."""
    table = SettingsTable()
    for name in ("x');SELECT 1;--", 'x";SELECT 1;--', "x\\';SELECT 1;--"):
        evil = table.intern({name: "x"})
        got = client.exchange(wire.query(replay_query(table.none, evil, {})))
        assert (wire.states(got)[0][:3], wire.rows(got)) in (("427", []), ("426", []))
        got = client.exchange(wire.query(replay_query(evil, table.none, {})))
        assert (wire.states(got), wire.rows(got)) == (["42704"], [])


def test_roles_are_left_and_taken(server: PostgresServer, client: WireClient) -> None:
    """Each way through a role that may not set what the session has set."""
    server.admin("GRANT other TO app")
    try:
        table = SettingsTable()
        one = table.intern({"role": "other", "session_replication_role": "replica"})
        replay(client, table.none, one)
        assert client.value("SELECT current_user") == "other"
        assert setting(client, "session_replication_role") == "replica"
        two = table.intern({"session_replication_role": "local"})
        replay(client, one, two)
        assert client.value("SELECT current_user") == "app"
        assert setting(client, "session_replication_role") == "local"
        replay(client, two, table.none)
        assert setting(client, "session_replication_role") == "origin"
    finally:
        client.query("DISCARD ALL")
        server.admin("REVOKE other FROM app")


def test_baseline_round_trip(client: WireClient) -> None:
    table = SettingsTable()
    run(client, b"SET work_mem = '5MB'")
    changed = table.intern({"work_mem": "9MB", "app.x": "it's"})
    replay(client, table.none, changed, work_mem="5MB")
    assert setting(client, "work_mem") == "9MB"
    replay(client, changed, table.none, work_mem="5MB")
    assert setting(client, "work_mem") == "5MB"
    run(client, b"DISCARD ALL")


SOME = st.dictionaries(
    st.sampled_from(["a.one", "a.two", "b.three"]), VALUES.filter(bool), max_size=3
)


@hypothesis_settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(SOME, max_size=4))
def test_any_sequence_of_sessions(client: WireClient, steps: list[dict[str, str]]) -> None:
    table = SettingsTable()
    now = table.none
    for values in [*steps, {}]:
        wanted = table.intern(values)
        replay(client, now, wanted)
        now = wanted
        for name in ("a.one", "a.two", "b.three"):
            found = run(client, b"SELECT coalesce(current_setting('%b',true),'')" % name.encode())
            assert found == [[values.get(name, "").encode()]]
