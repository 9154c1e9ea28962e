"""What a new server connection is asked, as a transcript and of a real server."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import pytest

from proxy.errors import ServerProtocolError, ServerRefused
from proxy.postgres.hidden import CATALOGUE_QUERY, HiddenEffects
from proxy.postgres.warmup import ask, hidden_effects, initialise, usable_connections
from proxy.wire.steps import Read, Send
from tests.postgres.streams import IDLE, answered, completed, refused, reports, row
from tests.support import messages as wire
from tests.support.messages import message
from tests.support.play import Player
from tests.support.wire import connect

if TYPE_CHECKING:
    from proxy.wire.steps import Conversation
    from tests.support.servers import PostgresServer
    from tests.support.wire import WireClient

T = TypeVar("T")
NOTICE = message("N", b"SNOTICE\0\0")


def played(conversation: Conversation[T], *answers: bytes) -> T:
    player = Player(conversation)
    for answer in answers:
        player.feed(answer)
    assert player.done
    assert player.unread == b""
    return player.result


def real(client: WireClient, conversation: Conversation[T]) -> T:
    """Run a conversation on a client's connection."""
    answer: object = None
    try:
        while True:
            command = conversation.send(answer)
            answer = None
            if isinstance(command, Send):
                client.send(command.data)
            else:
                assert isinstance(command, Read)
                answer = client.read_bytes(command.size_bytes)
    except StopIteration as stop:
        result: T = stop.value
        return result


def test_ask() -> None:
    player = Player(ask("SELECT 1"))
    assert player.opening == wire.query("SELECT 1")
    player.feed(NOTICE + reports("TimeZone", "UTC") + answered(row("1", None), row(b"\xff", "")))
    assert player.done
    assert player.result == [[b"1", None], [b"\xff", b""]]


def test_an_error_is_raised_once_the_server_is_ready() -> None:
    player = Player(ask("SELECT 1"))
    player.feed(refused("42501", "not yours"))
    assert not player.done
    with pytest.raises(ServerRefused) as caught:
        player.feed(IDLE)
    assert caught.value.code == "42501"
    assert caught.value.response == refused("42501", "not yours")


@pytest.mark.parametrize("length", [0, 3, (1 << 20) + 1, 0xFFFFFFFF])
def test_a_length_that_cannot_be(length: int) -> None:
    player = Player(ask("SELECT 1"))
    with pytest.raises(ServerProtocolError):
        player.feed(b"D" + length.to_bytes(4, "big"))


def test_usable_connections() -> None:
    assert played(usable_connections(), answered(row("100", "3", "5"))) == 92
    assert played(usable_connections(), answered(row("3", "3", "0"))) == 1


@pytest.mark.parametrize("rows", [(), (row("many", "3", "0"),), (row("1"),)])
def test_a_server_that_does_not_tell(rows: tuple[bytes, ...]) -> None:
    with pytest.raises(ServerProtocolError):
        played(usable_connections(), answered(*rows))


def test_hidden_effects() -> None:
    player = Player(hidden_effects())
    assert player.opening == wire.query(CATALOGUE_QUERY)
    player.feed(answered(row("f", "SELECT set_config('a.b', '', false)")))
    assert isinstance(player.result, HiddenEffects)
    assert played(hidden_effects(), answered()) is None
    assert played(hidden_effects(), refused(), IDLE) is None


def test_initialise_reads_back_what_it_set() -> None:
    player = Player(initialise("SET work_mem = '9MB'; SET a.b = 'é'; SET no.such = ''"))
    assert b"work_mem" in player.opening
    asked = player.feed(completed("SET") + completed("SET") + completed("SET") + IDLE)
    assert asked.count(b"current_setting") == 3
    player.feed(answered(row("é", None, "9MB")))
    assert player.result == {"a.b": "é", "work_mem": "9MB"}


def test_initialise_without_settings_asks_nothing_more() -> None:
    assert played(initialise("SELECT 1"), answered(row("1"))) == {}
    assert played(initialise("LISTEN a"), completed("LISTEN") + IDLE) == {}


def test_initialise_that_fails() -> None:
    with pytest.raises(ServerRefused):
        played(initialise("SET no = 1"), refused() + IDLE)


def test_on_a_real_server(server: PostgresServer) -> None:
    limit = int(server.admin("SHOW max_connections")[0][0])
    with connect(server.host, server.port) as client:
        assert limit - 10 <= real(client, usable_connections()) <= limit
        baseline = real(client, initialise("SET work_mem = '9216kB'; SET app.x = 'it''s é'"))
        assert baseline == {"work_mem": "9MB", "app.x": "it's é"}
        real(client, hidden_effects())
        assert client.value("SHOW work_mem") == "9MB"


def test_a_very_long_function_does_not_keep_connections_from_opening(
    server: PostgresServer,
) -> None:
    body = "SELECT set_config($a$app.long$a$, $a$x$a$, false) -- "
    with connect(server.host, server.port) as client:
        made = client.query(
            "DO $$ BEGIN EXECUTE 'CREATE FUNCTION very_long() RETURNS text LANGUAGE sql AS '"
            f" || quote_literal(replace('{body}', '$a$', '''') || repeat('é', 1500000)); END $$"
        )
        assert wire.states(made) == []
        try:
            hidden = real(client, hidden_effects())
        finally:
            client.query("DROP FUNCTION very_long")
    assert hidden is not None
    effects = hidden.added_to(b"SELECT very_long()", None)
    assert effects is not None
    assert effects.settings == {"app.long"}
