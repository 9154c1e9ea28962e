"""State that is carried, against real servers: what they report, and that it is exact elsewhere."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from proxy.mysql import settings, tracking, user_variables
from proxy.mysql.lenenc import read_lenenc, read_lenenc_int
from proxy.mysql.settings import Settings, SettingsTable
from proxy.mysql.tracking import Track, read_track
from tests.support import mysql_messages as wire
from tests.support.local_mysql import MARIADB
from tests.support.mysql_wire import MysqlClient, Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.mysql_servers import MysqlServer

UNCARRIED = {
    "identity",
    "insert_id",
    "last_insert_id",
    "pseudo_thread_id",
    "rand_seed1",
    "rand_seed2",
    "statement_id",
    "timestamp",
}
CHOICES = [
    "SET time_zone='+01:00'",
    "SET time_zone=DEFAULT",
    "SET sql_mode=''",
    "SET sql_mode='ANSI_QUOTES,NO_BACKSLASH_ESCAPES'",
    "SET autocommit=0",
    "SET autocommit=1",
    "SET max_join_size=100000000",
    "SET sql_big_selects=1",
    "SET sql_big_selects=0",
    "SET long_query_time=1.25",
    "SET optimizer_switch='mrr=off'",
    "SET NAMES latin1",
    "SET NAMES utf8mb4 COLLATE utf8mb4_bin",
    "SET CHARACTER SET latin1",
    "SET character_set_results=NULL",
    "SET character_set_results=utf8mb4",
    "SET character_set_client=gbk",
    "SET character_set_connection=latin1",
    "SET collation_connection=gbk_chinese_ci",
    "SET lc_time_names='de_DE'",
    "SET sort_buffer_size=1",
    "SET completion_type='CHAIN'",
    "SET sql_auto_is_null=1",
    "SET foreign_key_checks=0",
    "SET sql_safe_updates=1",
    "SET unique_checks=0",
    "SET character_set_server=latin1",
    "SET collation_server=gbk_chinese_ci",
    "SET character_set_server=utf8mb4",
    "SET wait_timeout=77",
    "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    "SET SESSION TRANSACTION READ ONLY",
]
VALUES = [
    b"-5",
    b"18446744073709551615",
    b"-9223372036854775808",
    b"1.50",
    b"CAST(5 AS DECIMAL(10,0))",
    b"123456789012345678901234567890.123456789",
    b"1/3",
    b"1.1e0",
    b"0.1e0+0.2e0",
    b"-1e-300",
    b"1.7976931348623157e308",
    b"'x'",
    b"''",
    b"NULL",
    b"x'ff00'",
    b"_latin1 x'e9' COLLATE latin1_bin",
    b"_utf16 x'00e9'",
    b"_gbk 0xD5D5",
    b"NOW()",
    b"JSON_OBJECT('a',1)",
    b"CAST(NULL AS UNSIGNED)",
    b"NULL+1.5",
    b"NULL+1e0",
    b"CONVERT(NULL USING latin1)",
]


class Session:
    """A connection that reports everything."""

    def __init__(self, client: MysqlClient, server: MysqlServer) -> None:
        self.client = client
        client.login(
            "app",
            server.password("app"),
            "app",
            capabilities=wire.BASE | wire.DEPRECATE_EOF | wire.SESSION_TRACK,
        )
        self.run(tracking.tracking_sql(mariadb=server.kind == MARIADB))

    def run(self, sql: str | bytes) -> Track:
        """Run a statement; gives what its last OK reports."""
        reply = self.client.query(sql)
        if reply[-1].error:
            raise Refused(reply[-1])
        payload = reply[-1].payload
        _, position = read_lenenc_int(payload, 1)
        _, position = read_lenenc_int(payload, position)
        position += 4
        if position == len(payload) or not self.client.status & 0x4000:
            return Track()
        _, position = read_lenenc(payload, position)
        return read_track(read_lenenc(payload, position)[0])

    def row(self, sql: bytes) -> tuple[list[bytes], list[bytes | None]]:
        """Run a query of one row; gives its column definitions and values."""
        reply = self.client.query(sql)
        if reply[-1].error:
            raise Refused(reply[-1])
        columns = [packet.payload for packet in reply[1:-2]]
        payload, position = reply[-2].payload, 0
        values: list[bytes | None] = []
        while position < len(payload):
            if payload[position] == 0xFB:
                values.append(None)
                position += 1
            else:
                value, position = read_lenenc(payload, position)
                values.append(value)
        return columns, values

    def variables(self) -> dict[str, str]:
        """All session variables that can be carried."""
        rows = self.client.rows("SHOW SESSION VARIABLES")
        return {str(name): value or "" for name, value in rows if name not in UNCARRIED}


@pytest.fixture
def sessions(mysql_server: MysqlServer) -> Iterator[list[Session]]:
    clients = [MysqlClient(mysql_server.host, mysql_server.port) for _ in range(3)]
    yield [Session(client, mysql_server) for client in clients]
    for client in clients:
        client.close()


def change(
    session: Session, table: SettingsTable, held: Settings, baseline: dict[str, str], sql: str
) -> Settings:
    changes = settings.read_changes(session.run(sql).variables, baseline)
    assert not changes.pins
    held = table.updated(held, changes.values)
    if changes.unknown:
        _, row = session.row(settings.question(changes.unknown))
        values = [value.decode() if value is not None else None for value in row]
        held = table.updated(held, settings.answers(changes.unknown, values, baseline).values)
    return held


@pytest.mark.parametrize("seed", range(12))
def test_settings_are_the_same_on_another_connection(sessions: list[Session], seed: int) -> None:
    first, second, fresh = sessions
    chosen = random.Random(seed)
    table = SettingsTable()
    baseline = fresh.variables()
    held = [table.none, table.none]
    for index, session in enumerate((first, second)):
        for sql in chosen.choices(CHOICES, k=chosen.randint(1, 7)):
            held[index] = change(session, table, held[index], baseline, sql)
    current = table.none
    for wanted, session in [(held[0], first), (held[1], second), (held[0], first)]:
        sql_text = settings.replay_sql(current, wanted, baseline)
        if sql_text:
            fresh.run(sql_text)
        current = wanted
        assert fresh.variables() == session.variables()
    back = settings.replay_sql(current, table.none, baseline)
    if back:
        fresh.run(back)
    assert fresh.variables() == baseline


def ask(session: Session) -> tuple[dict[bytes, bytes], list[tuple[int, int]], list[bytes | None]]:
    columns, row = session.row(user_variables.question([b"q`x"]))
    kinds = [user_variables.read_column(column, extended=False) for column in columns]
    return user_variables.read_values([b"q`x"], kinds, row), kinds, row


@pytest.mark.parametrize("value", VALUES)
def test_user_variables_are_the_same_elsewhere(sessions: list[Session], value: bytes) -> None:
    first, second, _ = sessions
    first.run(b"SET @`q``x`=" + value)
    second.run(b"SET NAMES latin1")
    values, _, _ = ask(first)
    second.run(user_variables.restore_sql(values, []))
    second.run(b"SET NAMES utf8mb4")
    first.run(b"SET NAMES utf8mb4")
    assert ask(first) == ask(second)
    probe = b"SELECT @`q``x`+0,CAST(@`q``x` AS CHAR),@`q``x`/7"
    assert first.row(probe) == second.row(probe)


def names(track: Track) -> set[str]:
    return {name for name, _ in track.variables} - {"statement_id"}


def test_set_names_does_not_report_the_collation(
    sessions: list[Session], mysql_server: MysqlServer
) -> None:
    track = sessions[0].run("SET NAMES latin1")
    assert names(track) == {
        "character_set_client",
        "character_set_connection",
        "character_set_results",
    }
    mixed_up = settings.mixes_up(mysql_server.version)
    assert names(sessions[0].run("SET collation_connection=utf8mb4_bin")) == {
        "character_set_connection" if mixed_up else "collation_connection"
    }


def test_what_is_reported_under_anothers_name(
    sessions: list[Session], mysql_server: MysqlServer
) -> None:
    if not settings.mixes_up(mysql_server.version):
        pytest.skip("this server tells every variable apart")
    first, fresh = sessions[0], sessions[1].variables()
    for name in settings.MIXED_UP & fresh.keys():
        try:
            track = first.run(f"SET @@session.{name}={'OFF' if fresh[name] == 'ON' else 'ON'}")
        except Refused:
            continue  # Not for everybody to set.
        assert names(track) == {"autocommit"}
        changes = settings.read_changes(track.variables, fresh)
        assert changes.unknown >= settings.MIXED_UP & fresh.keys()


def test_every_variable_is_reported_under_its_name_or_asked_for(
    sessions: list[Session], mysql_server: MysqlServer
) -> None:
    baseline = sessions[1].variables()
    for name, value in baseline.items():
        if name in settings.NEVER_CARRIED:
            continue
        for sql in (f"SET @@session.{name}=@@session.{name}", f"SET @@session.{name}=DEFAULT"):
            try:
                track = sessions[0].run(sql)
            except Refused:
                continue  # No variable of the session's, or not for everybody to set.
            changes = settings.read_changes(track.variables, baseline)
            kept = {*changes.values, *changes.unknown}
            canonical = {name, *(alias for own, alias in settings.ALIASES.items() if own == name)}
            assert changes.pins or kept & canonical, (sql, value)


@pytest.mark.parametrize("sql", ["SELECT @y:=2", "SELECT 3 INTO @z", "DO GET_LOCK('tidegate',1)"])
def test_what_the_tracker_does_not_report(sessions: list[Session], sql: str) -> None:
    track = sessions[0].run(sql)
    assert not track.state_changed
    assert not names(track)


@pytest.mark.parametrize("sql", ["SET @x=1", "PREPARE s FROM 'SELECT 1'"])
def test_what_the_tracker_reports_as_a_change(sessions: list[Session], sql: str) -> None:
    assert sessions[0].run(sql).state_changed


def test_one_shot_characteristics_are_reported(sessions: list[Session]) -> None:
    track = sessions[0].run("SET TRANSACTION READ ONLY")
    assert track.characteristics == "SET TRANSACTION READ ONLY;"
    sessions[0].run("BEGIN")
    assert sessions[0].run("COMMIT").characteristics == ""


def test_what_a_failed_program_has_set_is_reported_on_demand(sessions: list[Session]) -> None:
    first = sessions[0]
    first.run("DROP PROCEDURE IF EXISTS state_fails")
    first.run(
        "CREATE PROCEDURE state_fails() BEGIN SET time_zone='+03:00'; SIGNAL SQLSTATE '45000'; END"
    )
    with pytest.raises(Refused):
        first.run("CALL state_fails()")
    reported = first.run(tracking.REPORT_ALL).variables
    first.run("DROP PROCEDURE state_fails")
    assert ("time_zone", "+03:00") in reported
