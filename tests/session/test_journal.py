"""Who is told what of a session, and that nobody needs to listen."""

from __future__ import annotations

import inspect

from proxy.net.journal import GatewayJournal
from proxy.session.journal import Journal
from tests.support import messages as wire
from tests.support.stand import Client, Stand


def played(journal: Journal | None = None, *, debug: bool = False) -> tuple[Stand, Client]:
    """Play a session with a pin, a query that is cancelled by leaving, and a lost server."""
    stand = Stand()
    if journal is not None:
        stand.journal = journal  # type: ignore[assignment]
    stand.journal.debug = debug
    client = stand.client()
    for sql in ("SELECT 1", "LISTEN c", "UNLISTEN *", "SELECT 2"):
        client.send(wire.query(sql))
        stand.run()
    return stand, client


def test_silence_by_default() -> None:
    stand, client = played(Journal(), debug=True)
    client.send(wire.query("SELECT 3"))
    stand.run()
    assert wire.rows(client.messages())[-1] == [b"3"]
    client.vanish()
    stand.servers[0].say(stand.servers[0].peer.terminate())
    stand.run()
    assert client.link.closed
    assert stand.pool.open == 0
    journal, link = Journal(), stand.servers[0].link
    journal.cancel(link)
    journal.server_gone(link)
    assert link.cancelling == 0


def test_borrows_are_told_only_if_asked_for() -> None:
    quiet, _ = played()
    assert "borrowed" not in quiet.journal.events
    assert "returned" not in quiet.journal.events
    loud, _ = played(debug=True)
    # LISTEN pins, so the connection comes back only with UNLISTEN.
    assert loud.journal.events == [
        "borrowed",
        "returned",
        "borrowed",
        "pinned: listen",
        "unpinned: listen",
        "returned",
        "borrowed",
        "returned",
    ]


def test_ends_are_told_once() -> None:
    stand, client = played()
    client.send(wire.TERMINATE)
    stand.run()
    stand.servers[0].say(stand.servers[0].peer.terminate())
    stand.run()
    assert stand.journal.events.count("client closed: terminated") == 1
    assert stand.journal.events.count("server closed: closed by the server") == 1


def test_the_proxys_journal_hears_everything() -> None:
    told = {name for name, item in vars(Journal).items() if inspect.isfunction(item)}
    assert told == {name for name in told if name in vars(GatewayJournal)}
