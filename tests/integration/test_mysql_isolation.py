"""Sessions that kill each other, vanish and change the user: nobody sees what is another's."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.support import mysql_messages as wire
from tests.support.mysql_proxy import mysql_proxy_settings
from tests.support.mysql_servers import USERS
from tests.support.mysql_wire import Closed, MysqlClient, Refused
from tests.support.proxy import running_proxy

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.mysql_servers import MysqlServer

CLIENTS = 16
SECONDS = 4.0
KILLED = (1317, 1927)
WHO = "SELECT CONNECTION_ID(), SUBSTRING_INDEX(CURRENT_USER(), '@', 1), @mark, DATABASE()"
SCHEMAS = ("app", "other", "information_schema")


class Wanderer:
    """A client that does this and that, and knows what it must see."""

    def __init__(self, port: int, seed: int, live: dict[int, str]) -> None:
        self.random = random.Random(seed)
        self.live = live
        self.client = MysqlClient("127.0.0.1", port)
        self.user = self.random.choice(list(USERS))
        self.schema: str | None = self.random.choice([None, self.user])
        self.mark: str | None = None
        self.number = 0

    def run(self) -> None:
        """Come, do something, and go. Raises ``AssertionError`` for what it must not see."""
        extra = self.random.choice([0, wire.SESSION_TRACK | wire.DEPRECATE_EOF])
        password = USERS[self.user]
        schema = self.schema or ""
        self.client.login(self.user, password, schema, capabilities=wire.BASE | extra)
        assert self.client.greeting is not None
        self.number = self.client.greeting.connection_id
        self.live[self.number] = self.user
        deeds = [self.look, self.look, self.set, self.change, self.kill, self.sleep]
        deeds += [self.begin, self.table, self.use]
        for _ in range(self.random.randrange(1, 12)):
            self.random.choice(deeds)()
        self.random.choice([self.quit, self.vanish])()

    def look(self) -> None:
        """See oneself."""
        found = self.client.rows(WHO)
        assert found == [(str(self.number), self.user, self.mark, self.schema)]

    def set(self) -> None:
        """Leave a mark, unless killed."""
        mark = str(self.random.randrange(1 << 30))
        if not self.client.query(f"SET @mark = {mark}")[-1].error:
            self.mark = mark
        else:
            # It may have been made or not.
            self.quit()

    def change(self) -> None:
        """Become someone else."""
        self.user, self.mark = self.random.choice(list(USERS)), None
        self.schema = self.random.choice([None, self.user])
        self.client.change_user(self.user, USERS[self.user], self.schema or "")
        self.live[self.number] = self.user

    def use(self) -> None:
        """Choose another schema, or one that the user may not use."""
        schema = self.random.choice(SCHEMAS)
        text = self.random.choice(["USE {}", "DO 1; USE {}"]).format(schema)
        if not self.client.query(text)[-1].error:
            self.schema = schema
        elif self.client.query("SELECT 1")[-1].error:
            self.quit()

    def kill(self) -> None:
        """Kill someone, perhaps oneself."""
        victim = self.random.choice(list(self.live))
        only = "QUERY" if self.random.random() < 0.8 else ""
        if self.client.query(f"KILL {only} {victim}")[-1].errno in KILLED:
            raise Closed("killed by itself")

    def sleep(self) -> None:
        """Be killed perhaps."""
        self.client.query(f"SELECT SLEEP({self.random.random() * 0.2:.3f})")

    def begin(self) -> None:
        """Hold a server connection."""
        self.client.query("BEGIN")

    def table(self) -> None:
        """Leave something that only a reset takes away."""
        self.client.query("CREATE TEMPORARY TABLE IF NOT EXISTS t (a INT)")

    def vanish(self) -> None:
        """Leave in the middle of a statement."""
        text = self.random.choice(["SET @mark = 'left behind'", "SELECT SLEEP(5)", WHO])
        self.client.send(bytes([wire.QUERY]) + text.encode())
        time.sleep(self.random.random() * 0.01)
        self.client.reset()
        raise Closed("vanished")

    def quit(self) -> None:
        """Leave politely."""
        self.client.quit()
        raise Closed("done")


def wander(port: int, seed: int, live: dict[int, str], until: float, wrong: list[str]) -> None:
    """Be one client after the other."""
    while time.monotonic() < until:
        wanderer = Wanderer(port, seed, live)
        seed += CLIENTS
        try:
            wanderer.run()
        except (Closed, ConnectionError):
            continue
        except Refused as error:
            if error.errno not in KILLED:
                wrong.append(repr(error))
        except Exception as error:
            wrong.append(repr(error))
        finally:
            live.pop(wanderer.number, None)
            with contextlib.suppress(OSError):
                wanderer.client.close()


@pytest.mark.parametrize("workers", [1, 2])
def test_wanderers(mysql_server: MysqlServer, tmp_path: Path, workers: int) -> None:
    made = mysql_proxy_settings(mysql_server, {"max_connections": 6})
    made.process = {"workers": workers}
    wrong: list[str] = []
    live = {1 << 30: "app"}
    with running_proxy(made, tmp_path) as proxy:
        until = time.monotonic() + SECONDS
        threads = [
            threading.Thread(target=wander, args=(proxy.port, seed, live, until, wrong))
            for seed in range(CLIENTS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not wrong
        name = "tidegate_database_connections_currently_borrowed"
        proxy.wait_for(lambda: proxy.metric(name) == 0, "every connection returned")
