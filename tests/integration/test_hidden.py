"""What a function, trigger or view does to a session is its own, too, and nobody else's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support import messages as wire
from tests.support.proxy import ProxyProcess, ProxySettings, running_proxy
from tests.support.wire import WireClient, connect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.servers import PostgresServer

TENANT = "SELECT coalesce(nullif(current_setting('hid.tenant', true), ''), 'none')"
DEFINITIONS = """
CREATE SCHEMA hid;
CREATE FUNCTION hid.become(who text) RETURNS text LANGUAGE plpgsql AS
  $$ BEGIN RETURN set_config('hid.tenant', who, false); END $$;
CREATE FUNCTION hid.become_deeper(who text) RETURNS text LANGUAGE sql AS
  'SELECT hid.become(who)';
CREATE TABLE hid.orders (who text);
CREATE FUNCTION hid.noted() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN PERFORM set_config('hid.tenant', NEW.who, false); RETURN NEW; END $$;
CREATE TRIGGER noted BEFORE INSERT ON hid.orders FOR EACH ROW EXECUTE FUNCTION hid.noted();
CREATE VIEW hid.window AS SELECT hid.become('blue');
CREATE FUNCTION hid.locks() RETURNS void LANGUAGE sql AS 'SELECT pg_advisory_lock(4711)';
CREATE PROCEDURE hid.roles() LANGUAGE plpgsql AS $$ BEGIN SET ROLE pg_monitor; END $$;
"""
WAYS = (
    "SELECT hid.become('blue')",
    "SELECT hid.\"become\"('blue')",
    "SELECT hid.become_deeper('blue')",
    "INSERT INTO hid.orders VALUES ('blue')",
    "SELECT * FROM hid.window",
    "DO $$ BEGIN PERFORM hid.become('blue'); END $$",
)


@pytest.fixture(scope="module")
def proxy(
    server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ProxyProcess]:
    """A proxy with a pool of one whose first connection finds the definitions there already."""
    server.admin("GRANT pg_monitor TO app")
    with connect(server.host, server.port) as client:
        assert wire.states(client.query(DEFINITIONS)) == []
        try:
            settings = ProxySettings(server, group={"max_connections": 1})
            with running_proxy(settings, tmp_path_factory.mktemp("hidden")) as started:
                yield started
        finally:
            client.query("DROP SCHEMA hid CASCADE")


def two_clients(proxy: ProxyProcess) -> tuple[WireClient, WireClient]:
    return connect(proxy.host, proxy.port), connect(proxy.host, proxy.port)


@pytest.mark.parametrize("way", WAYS)
def test_the_way_is_real(server: PostgresServer, proxy: ProxyProcess, way: str) -> None:
    """Against the server itself: otherwise the tests below would prove nothing."""
    with connect(server.host, server.port) as client:
        assert wire.states(client.query(way)) == []
        assert client.value(TENANT) == "blue"


@pytest.mark.parametrize("extended", [False, True], ids=["simple", "extended"])
@pytest.mark.parametrize("way", WAYS)
def test_kept_for_its_client_and_hidden_from_the_next(
    proxy: ProxyProcess, way: str, extended: bool
) -> None:
    maker, other = two_clients(proxy)
    with maker, other:
        assert maker.value(TENANT) == other.value(TENANT) == "none"
        data = wire.run(way) + wire.SYNC if extended else wire.query(way)
        assert wire.states(maker.exchange(data)) == []
        for _ in range(2):
            assert other.value(TENANT) == "none"
            assert maker.value(TENANT) == "blue"


def test_a_prepared_statement_that_calls_one(proxy: ProxyProcess) -> None:
    maker, other = two_clients(proxy)
    with maker, other:
        maker.exchange(wire.parse("SELECT hid.become($1)", "s", (25,)), wire.SYNC)
        for who in ("blue", "green"):
            maker.exchange(wire.bind(who, name="s"), wire.execute(), wire.SYNC)
            assert other.value(TENANT) == "none"
            assert maker.value(TENANT) == who


def test_rolled_back_in_a_transaction(proxy: ProxyProcess) -> None:
    maker, other = two_clients(proxy)
    with maker, other:
        maker.query("SELECT hid.become('green')")
        maker.query("BEGIN")
        maker.query("INSERT INTO hid.orders VALUES ('blue')")
        maker.query("ROLLBACK")
        assert other.value(TENANT) == "none"
        assert maker.value(TENANT) == "green"


def test_a_hidden_role(proxy: ProxyProcess) -> None:
    maker, other = two_clients(proxy)
    with maker, other:
        assert wire.states(maker.query("CALL hid.roles()")) == []
        assert other.value("SELECT current_user") == "app"
        assert maker.value("SELECT current_user") == "pg_monitor"


def test_a_hidden_lock_keeps_the_connection(proxy: ProxyProcess) -> None:
    held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
    maker, other = two_clients(proxy)
    with maker, other:
        maker.query("SELECT hid.locks()")
        other.send(wire.query(held))
        assert other.silent(0.2)
        assert maker.value(held) == "1"
        maker.query("SELECT pg_advisory_unlock_all()")
        assert wire.rows(other.read_until()) == [[b"0"]]


@pytest.mark.parametrize("together", [False, True], ids=["apart", "in-one-transaction"])
def test_right_after_its_definition(proxy: ProxyProcess, together: bool) -> None:
    """The proxy sees the definition pass and reads the catalogue again before the next client."""
    name = f"fresh_{together}".lower()
    define = (
        f"CREATE OR REPLACE FUNCTION hid.{name}() RETURNS void LANGUAGE sql AS"
        " $$ SELECT set_config('hid.tenant', 'blue', false) $$"
    )
    maker, other = two_clients(proxy)
    with maker, other:
        innocent = f"CREATE FUNCTION hid.{name}() RETURNS void LANGUAGE sql AS 'SELECT'"
        assert wire.states(other.query(innocent)) == []
        if together:
            other.query("BEGIN")
            other.query(define)
            other.query("COMMIT")
        else:
            other.query(define)
        assert wire.states(maker.query(f"SELECT hid.{name}()")) == []
        assert other.value(TENANT) == "none"
        assert maker.value(TENANT) == "blue"


def test_right_after_a_trigger_is_made(proxy: ProxyProcess) -> None:
    maker, other = two_clients(proxy)
    with maker, other:
        made = other.query(
            "CREATE TABLE hid.late (who text); CREATE TRIGGER noted BEFORE INSERT ON hid.late"
            " FOR EACH ROW EXECUTE FUNCTION hid.noted(); CREATE TABLE hid.nothing (a int)"
        )
        assert wire.states(made) == []
        maker.query("INSERT INTO hid.late VALUES ('blue')")
        assert other.value(TENANT) == "none"
        assert maker.value(TENANT) == "blue"


def test_a_lock_taken_by_function_call_stays_with_its_session(proxy: ProxyProcess) -> None:
    """FunctionCall names no function, only its object id: 2880 is pg_advisory_lock(bigint)."""
    mine = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
    maker, other = two_clients(proxy)
    with maker, other:
        maker.exchange(wire.function_call(2880, b"77"))
        assert maker.value(mine) == "1"
        other.send(wire.query(mine))
        assert other.silent(0.1)
        maker.quit()
        assert wire.rows(other.read_until()) == [[b"0"]]
