"""What one client leaves in its session is never another's, and stays its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.support import messages as wire
from tests.support.wire import WireClient, connect

if TYPE_CHECKING:
    from tests.support.proxy import ProxyProcess
    from tests.support.servers import PostgresServer


@dataclass(frozen=True, slots=True)
class Residue:
    """State that a session can leave behind, and how to see it."""

    name: str
    make: str
    look: str
    """A query that always succeeds with one value."""
    clean: str
    """What ``look`` says in a fresh session."""
    own: str
    """What it says in the session that made it."""
    undo: str = ""

    @property
    def single_statement(self) -> bool:
        """Whether the extended protocol takes it."""
        return self.make.startswith("DO ") or ";" not in self.make


PREPARED = "SELECT count(*) FROM pg_prepared_statements WHERE from_sql"
RESIDUES = (
    Residue(
        "temporary-table",
        "CREATE TEMP TABLE t AS SELECT 7 AS x",
        "SELECT to_regclass('t') IS NOT NULL",
        "f",
        "t",
        "DROP TABLE t",
    ),
    Residue(
        "temporary-view",
        "CREATE TEMP VIEW v AS SELECT 1",
        "SELECT to_regclass('v') IS NOT NULL",
        "f",
        "t",
        "DROP VIEW v",
    ),
    Residue(
        "temporary-sequence",
        "CREATE TEMP SEQUENCE q",
        "SELECT to_regclass('q') IS NOT NULL",
        "f",
        "t",
        "DROP SEQUENCE q",
    ),
    Residue(
        "select-into-temp",
        "SELECT 1 AS x INTO TEMP u",
        "SELECT to_regclass('u') IS NOT NULL",
        "f",
        "t",
    ),
    Residue(
        "temporary-schema-name",
        "CREATE TABLE pg_temp.w (x int)",
        "SELECT to_regclass('w') IS NOT NULL",
        "f",
        "t",
    ),
    Residue(
        "temporary-function",
        "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "SELECT to_regproc('pg_temp.f') IS NOT NULL",
        "f",
        "t",
    ),
    Residue("set-reported", "SET timezone = 'Asia/Tokyo'", "SHOW timezone", "UTC", "Asia/Tokyo"),
    Residue("set-unreported", "SET work_mem = '9MB'", "SHOW work_mem", "4MB", "9MB"),
    Residue("set-session", "SET SESSION work_mem TO '9MB'", "SHOW work_mem", "4MB", "9MB"),
    Residue(
        "set-comment-in-front", "/* c */ -- d\n SET work_mem = '9MB'", "SHOW work_mem", "4MB", "9MB"
    ),
    Residue("set-after-select", "SELECT 1; SET work_mem = '9MB'", "SHOW work_mem", "4MB", "9MB"),
    Residue(
        "set-in-a-block",
        "DO $$ BEGIN SET work_mem = '9MB'; END $$",
        "SHOW work_mem",
        "4MB",
        "9MB",
    ),
    Residue(
        "set-config",
        "SELECT set_config('work_mem', '9MB', false)",
        "SHOW work_mem",
        "4MB",
        "9MB",
    ),
    Residue(
        "set-config-hidden",
        "SELECT pg_catalog.\"set_config\" ('work_mem', '9MB', false) FROM generate_series(1, 1)",
        "SHOW work_mem",
        "4MB",
        "9MB",
    ),
    Residue(
        "update-pg-settings",
        "UPDATE pg_settings SET setting = '9216' WHERE name = 'work_mem'",
        "SHOW work_mem",
        "4MB",
        "9MB",
    ),
    Residue(
        "custom-setting",
        "SET app.tenant = 'blue'",
        "SELECT coalesce(nullif(current_setting('app.tenant', true), ''), 'none')",
        "none",
        "blue",
    ),
    Residue(
        "search-path",
        "SET search_path = pg_catalog",
        "SHOW search_path",
        '"$user", public',
        "pg_catalog",
    ),
    Residue(
        "statement-timeout", "SET statement_timeout = '50s'", "SHOW statement_timeout", "0", "50s"
    ),
    Residue("client-encoding", "SET NAMES 'LATIN1'", "SHOW client_encoding", "UTF8", "LATIN1"),
    Residue(
        "session-characteristics",
        "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "SHOW default_transaction_isolation",
        "read committed",
        "serializable",
    ),
    Residue(
        "read-only",
        "SET default_transaction_read_only = on",
        "SHOW transaction_read_only",
        "off",
        "on",
    ),
    Residue(
        "replication-role",
        "SET session_replication_role = replica",
        "SHOW session_replication_role",
        "origin",
        "replica",
    ),
    Residue("role", "SET ROLE pg_monitor", "SELECT current_user", "app", "pg_monitor"),
    Residue("prepare", "PREPARE p AS SELECT 1", PREPARED, "0", "1", "DEALLOCATE p"),
    Residue(
        "held-cursor",
        "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
        "SELECT count(*) FROM pg_cursors WHERE is_holdable",
        "0",
        "1",
        "CLOSE c",
    ),
    Residue(
        "listen",
        "LISTEN news",
        "SELECT count(*) FROM pg_listening_channels()",
        "0",
        "1",
        "UNLISTEN news",
    ),
    Residue(
        "advisory-lock",
        "SELECT pg_advisory_lock(99)",
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()",
        "0",
        "1",
        "SELECT pg_advisory_unlock(99)",
    ),
    Residue(
        "advisory-lock-shared-in-a-function",
        "DO $$ BEGIN PERFORM pg_advisory_lock_shared(98); END $$",
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()",
        "0",
        "1",
        "SELECT pg_advisory_unlock_all()",
    ),
)
EACH = pytest.mark.parametrize("residue", RESIDUES, ids=lambda residue: residue.name)


def look(client: WireClient, residue: Residue) -> str:
    """Give what the client sees."""
    return client.value(residue.look)


@pytest.fixture(autouse=True, scope="module")
def permissions(server: PostgresServer) -> None:
    """Let the role do what the residues need."""
    server.admin("GRANT pg_monitor TO app")


@EACH
def test_residue_is_real(server: PostgresServer, residue: Residue) -> None:
    """Against the server itself: otherwise the tests below would prove nothing."""
    with connect(server.host, server.port) as client:
        assert look(client, residue) == residue.clean
        assert wire.states(client.query(residue.make)) == []
        assert look(client, residue) == residue.own


@pytest.mark.parametrize(
    ("residue", "extended"),
    [(r, False) for r in RESIDUES] + [(r, True) for r in RESIDUES if r.single_statement],
    ids=lambda item: item.name if isinstance(item, Residue) else f"extended-{item}",
)
def test_its_own_and_nobody_elses(single: ProxyProcess, residue: Residue, extended: bool) -> None:
    """The maker keeps it while another client wants the connection; then the other is clean."""
    with connect(single.host, single.port) as maker, connect(single.host, single.port) as other:
        assert look(other, residue) == residue.clean
        assert look(maker, residue) == residue.clean
        data = wire.run(residue.make) + wire.SYNC if extended else wire.query(residue.make)
        assert wire.states(maker.exchange(data)) == []
        other.send(wire.query(residue.look))
        for _ in range(3):
            assert look(maker, residue) == residue.own
        if other.silent(0.1):
            # The connection is pinned to its maker: the other client waits until it leaves.
            maker.quit()
        assert wire.rows(other.read_until()) == [[residue.clean.encode()]]


@pytest.mark.parametrize(
    "residue", [r for r in RESIDUES if r.undo], ids=lambda residue: residue.name
)
def test_undone_is_gone(single: ProxyProcess, residue: Residue) -> None:
    with connect(single.host, single.port) as maker:
        maker.query(residue.make)
        assert look(maker, residue) == residue.own
        maker.query(residue.undo)
        assert look(maker, residue) == residue.clean


@EACH
def test_left_without_a_word(single: ProxyProcess, residue: Residue) -> None:
    """The maker's connection breaks; whoever comes next finds nothing."""
    maker = connect(single.host, single.port)
    maker.send(wire.query(residue.make))
    maker.read_until()
    maker.reset()
    with connect(single.host, single.port) as other:
        assert look(other, residue) == residue.clean


@EACH
def test_made_in_a_transaction_and_rolled_back(single: ProxyProcess, residue: Residue) -> None:
    """Some of it survives a rollback (PREPARE, advisory locks): exactly as it does directly."""
    answers = []
    for host, port in ((single.server.host, single.server.port), (single.host, single.port)):
        with connect(host, port) as maker:
            maker.query("BEGIN")
            maker.query(residue.make)
            maker.query("ROLLBACK")
            answers.append(look(maker, residue))
            maker.query("DISCARD ALL")
    assert answers[0] == answers[1]
    with connect(single.host, single.port) as other:
        assert look(other, residue) == residue.clean


def test_currval_is_the_sessions_own(single: ProxyProcess) -> None:
    with connect(single.host, single.port) as one:
        one.query("DROP SEQUENCE IF EXISTS tickets; CREATE SEQUENCE tickets")
        assert one.value("SELECT nextval('tickets')") == "1"
        assert one.value("SELECT currval('tickets')") == "1"
        assert one.value("SELECT lastval()") == "1"
        one.quit()
    with connect(single.host, single.port) as two:
        assert wire.states(two.query("SELECT currval('tickets')")) == ["55000"]
        two.query("DROP SEQUENCE tickets")


def test_insert_into_a_serial_then_lastval(single: ProxyProcess) -> None:
    """``lastval()`` after an INSERT: some old drivers do this outside a transaction."""
    with connect(single.host, single.port) as one, connect(single.host, single.port) as two:
        one.query("DROP TABLE IF EXISTS receipts; CREATE TABLE receipts (n serial, who text)")
        one.query("INSERT INTO receipts (who) VALUES ('one')")
        two.send(wire.query("INSERT INTO receipts (who) VALUES ('two')"))
        two.silent(0.1)
        # Either pinned or refused ("lastval is not yet defined"): never the other's number.
        answer = one.query("SELECT lastval()")
        assert wire.rows(answer) in ([[b"1"]], [])
        one.query("DISCARD ALL")
        one.quit()
        two.read_until()
        two.query("DROP TABLE receipts")


def test_named_statements_do_not_meet(single: ProxyProcess) -> None:
    with connect(single.host, single.port) as one, connect(single.host, single.port) as two:
        for client, word in ((one, "one"), (two, "two")):
            client.exchange(wire.parse(f"SELECT '{word}'", "same"), wire.SYNC)
        for client, word in ((one, "one"), (two, "two")) * 3:
            reply = client.exchange(wire.bind(name="same"), wire.execute(), wire.SYNC)
            assert wire.rows(reply) == [[word.encode()]]
        one.exchange(wire.close("S", "same"), wire.SYNC)
        reply = one.exchange(wire.bind(name="same"), wire.execute(), wire.SYNC)
        assert wire.states(reply) == ["26000"]
        reply = two.exchange(wire.bind(name="same"), wire.execute(), wire.SYNC)
        assert wire.rows(reply) == [[b"two"]]


def test_unnamed_statements_do_not_meet(single: ProxyProcess) -> None:
    with connect(single.host, single.port) as one, connect(single.host, single.port) as two:
        for client, word in ((one, "one"), (two, "two")):
            client.exchange(wire.parse(f"SELECT '{word}'"), wire.SYNC)
        for client, word in ((one, "one"), (two, "two")) * 2:
            reply = client.exchange(wire.bind(), wire.execute(), wire.SYNC)
            assert wire.rows(reply) == [[word.encode()]]


def test_users_never_share_a_connection(single: ProxyProcess) -> None:
    with connect(single.host, single.port, "app") as one:
        first = one.value("SELECT pg_backend_pid()")
        with connect(single.host, single.port, "other", "app") as two:
            assert two.value("SELECT session_user") == "other"
            assert two.value("SELECT pg_backend_pid()") != first
        assert one.value("SELECT session_user") == "app"


def test_more_statements_than_a_connection_keeps(single: ProxyProcess) -> None:
    """The least recently used statement is closed on the server; its client never knows."""
    with connect(single.host, single.port) as client:
        for n in range(450):
            client.exchange(wire.parse(f"SELECT {n}", f"s{n}"), wire.SYNC)
        held = client.value("SELECT count(*) FROM pg_prepared_statements WHERE NOT from_sql")
        assert int(held) <= 201
        for n in range(0, 450, 7):
            reply = client.exchange(wire.bind(name=f"s{n}"), wire.execute(), wire.SYNC)
            assert wire.rows(reply) == [[b"%d" % n]]


@pytest.mark.parametrize(
    "data",
    [
        wire.bind(name="tidegate_1") + wire.execute() + wire.SYNC,
        wire.describe("S", "tidegate_1") + wire.SYNC,
        wire.query("EXECUTE tidegate_1"),
        wire.query('DEALLOCATE "tidegate_1"'),
    ],
)
def test_statements_cannot_be_reached_by_guessing(single: ProxyProcess, data: bytes) -> None:
    with connect(single.host, single.port) as owner, connect(single.host, single.port) as guesser:
        owner.exchange(wire.parse("SELECT 'secret'", "mine") + wire.SYNC)
        assert wire.states(guesser.exchange(data)) == ["26000"]
        guesser.exchange(wire.close("S", "tidegate_1") + wire.SYNC)
        use = wire.bind(name="mine") + wire.execute() + wire.SYNC
        assert wire.rows(owner.exchange(use)) == [[b"secret"]]


def test_a_date_is_read_under_the_settings_of_its_own_session(single: ProxyProcess) -> None:
    with connect(single.host, single.port) as one, connect(single.host, single.port) as two:
        two.query("SET datestyle = 'ISO, DMY'")
        for client in (one, two):
            sql = "SELECT EXTRACT(month FROM '1/2/2020'::date)"
            client.exchange(wire.parse(sql, "month") + wire.SYNC)
        use = wire.bind(name="month") + wire.execute() + wire.SYNC
        for _ in range(2):
            assert wire.rows(one.exchange(use)) == [[b"1"]]
            assert wire.rows(two.exchange(use)) == [[b"2"]]
