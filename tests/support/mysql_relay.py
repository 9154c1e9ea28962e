"""Client and server streams of the MySQL engine, joined without a proxy around them.

Server connections are real ones, logged in by the tests' own client. ``Session`` stands for a
client: each ``exchange`` borrows the server connection it is told to, as the links do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.mysql.capabilities import ClientFacts
from proxy.mysql.client_stream import MysqlClientStream
from proxy.mysql.pool_state import PoolState
from proxy.mysql.server_stream import MysqlServerStream
from proxy.mysql.settings import BASELINE_QUERY
from proxy.mysql.tracking import tracking_sql
from proxy.wire.dialect import Login, ServerSession
from proxy.wire.stream import NEED_BYTES, NEED_SERVER
from tests.support import mysql_messages as wire
from tests.support.mysql_messages import Packet
from tests.support.mysql_wire import MysqlClient

if TYPE_CHECKING:
    from tests.support.mysql_servers import MysqlServer

SERVER_SIDE = wire.BASE | wire.SESSION_TRACK | wire.DEPRECATE_EOF


class Relay:
    """A pool of server connections and what its sessions share."""

    def __init__(self, server: MysqlServer, connections: int = 2, more: int = 0) -> None:
        """Open and prepare ``connections``; ``more`` are further capabilities to log in with."""
        self.shared = PoolState(max_prepared_statements=20)
        self.connections = [Connection(self, server, more) for _ in range(connections)]

    def close(self) -> None:
        """Close all server connections."""
        for connection in self.connections:
            connection.client.close()


class Connection:
    """One server connection."""

    def __init__(self, relay: Relay, server: MysqlServer, more: int) -> None:
        """Log in and do what the warm-up does."""
        self.client = MysqlClient(server.host, server.port)
        self.client.login("app", "app-secret", "app", capabilities=SERVER_SIDE | more)
        assert self.client.greeting is not None
        version = self.client.greeting.version
        if not relay.shared.has_baseline():
            variables = self.client.rows(BASELINE_QUERY.decode())
            relay.shared.learn_baseline({str(n).lower(): str(v or "") for n, v in variables})
            found = self.client.query("SHOW WARNINGS")
            relay.shared.learn_no_warnings([packet.payload for packet in found])
        self.client.query(tracking_sql(mariadb=relay.shared.mariadb))
        self.stream = MysqlServerStream(
            relay.shared,
            ServerSession(
                reported={"server_version": version, "schema": "app"},
                process_id=0,
                cancel_request=b"",
                tls=None,
                capabilities=SERVER_SIDE | more,
            ),
        )


class Session:
    """One client session."""

    def __init__(self, relay: Relay, capabilities: int = wire.BASE, number: int = 7) -> None:
        """``capabilities`` are the client's, in force."""
        facts = ClientFacts(capabilities=capabilities, sequence=2, collation=45)
        login = Login("app", "app", (), {}, None, 4, facts=facts)
        self.relay = relay
        self.stream = MysqlClientStream(relay.shared, login, number, session_pooling=False)
        self.on: Connection | None = None
        """The connection that the session keeps."""
        self.output = b""

    def send(self, data: bytes, connection: Connection | None = None) -> bytes:
        """Send bytes; return what comes back once nothing is owed any more."""
        self.output = b""
        stream = self.stream
        if self.on is None:
            need = stream.demand(stream.held + data)
            self.output += stream.to_client
            if need == NEED_BYTES or stream.error or need != NEED_SERVER:
                return self.output
            self.on = connection or self.relay.connections[0]
            stream.attach(self.on.stream)
            data = b""
        self._forward(data)
        self._pump()
        return self.output

    def _forward(self, data: bytes) -> None:
        assert self.on is not None
        self.stream.receive(data)
        self.output += self.stream.to_client
        if self.stream.to_server:
            self.on.client.socket.sendall(self.stream.to_server)

    def _pump(self) -> None:
        while self.on is not None:
            server = self.on.stream
            if server.is_quiet():
                if not server.is_idle() or not self._settled():
                    return
                continue
            if self.stream.in_message() and server.awaits_client():
                return
            data = self.on.client.socket.recv(65536)
            assert data, "the server closed the connection"
            server.receive(data)
            self.output += server.to_client
            assert not server.error, server.error
            if server.resume:
                server.resume = False
                if self.stream.waiting:
                    self.stream.waiting = False
                    self._forward(b"")

    def _settled(self) -> bool:
        """Settle and leave the connection; whether there is more to do."""
        assert self.on is not None
        assert self.stream.error is None, self.stream.error
        question = self.stream.settle()
        if question:
            self.on.client.socket.sendall(question)
            return True
        if self.stream.pin_reason() or self.stream.in_message():
            return False
        self.stream.detach()
        self.on = None
        return False

    def exchange(self, payload: bytes, connection: Connection | None = None) -> list[Packet]:
        """Send a command; return the packets of the reply."""
        return read_packets(self.send(wire.packets(payload, 0), connection))

    def query(self, sql: str, connection: Connection | None = None) -> list[Packet]:
        """Run SQL by the text protocol."""
        return self.exchange(bytes([wire.QUERY]) + sql.encode(), connection)


def read_packets(data: bytes) -> list[Packet]:
    """Take packets apart; none may be continued."""
    found = []
    while data:
        size = int.from_bytes(data[:3], "little")
        assert len(data) >= size + 4, "a packet is cut"
        found.append(Packet(data[3], data[4 : 4 + size]))
        data = data[4 + size :]
    return found
