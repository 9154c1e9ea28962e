"""What a comparison of one engine's peers needs ahead of them: a database, and a folder."""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import database, mysql_database, peers
from benchmarks.certificates import make_rsa_certificate
from benchmarks.fleet import Login
from tests.support.certificates import make_certificates

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from tests.support.certificates import Certificates


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A running database, and what its peers are told."""

    login: Login
    setup: peers.Setup
    folder: Path
    """For the peers' files; those that do not run as root read it, too."""
    most_clients: int
    """Connections the database allows."""
    counting: Callable[[], AbstractContextManager[Callable[[], int]]]
    """Opens a connection that can count the clients' connections to the database."""
    empty: Callable[[], None]
    """Closes the clients' connections to the database."""


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="tgbench", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def _setup(
    login: Login, port: int, pool_size: int, certificates: Certificates, client_tls: bool
) -> peers.Setup:
    return peers.Setup(
        server_port=port,
        user=login.user,
        password=login.password,
        pool_size=pool_size,
        certificates=certificates,
        client_tls=client_tls,
    )


@contextlib.contextmanager
def postgresql_stage(pool_size: int, *, client_tls: bool = False) -> Iterator[Stage]:
    """Start a PostgreSQL. Raises ``NoServer``."""
    login = Login(
        engine="postgresql",
        user=database.USER,
        password=database.PASSWORD,
        database=database.DATABASE,
    )
    with database.database() as (server, _), _folder() as folder:
        certificates = make_certificates(folder / "tls")
        yield Stage(
            login=login,
            setup=_setup(login, server.port, pool_size, certificates, client_tls),
            folder=folder,
            most_clients=database.MOST_CLIENTS,
            counting=lambda: database.counting(server),
            empty=lambda: database.empty(server),
        )


@contextlib.contextmanager
def mysql_stage(pool_size: int, *, client_tls: bool = False) -> Iterator[Stage]:
    """Start a MySQL that has the peers' certificate. Raises ``NoServer``."""
    with _folder() as folder:
        # RSA, because MySQL Router has clients without TLS encrypt their passwords with its key.
        certificates = make_rsa_certificate(folder / "tls")
        with mysql_database.database(certificates) as server:
            login = Login(
                engine="mysql",
                user=mysql_database.USER,
                password=server.password(mysql_database.USER),
                database=mysql_database.USER,
            )
            yield Stage(
                login=login,
                setup=_setup(login, server.port, pool_size, certificates, client_tls),
                folder=folder,
                most_clients=mysql_database.MOST_CLIENTS,
                counting=lambda: mysql_database.counting(server),
                empty=lambda: mysql_database.empty(server),
            )


STAGES = {"postgresql": postgresql_stage, "mysql": mysql_stage}
"""By the name of an engine."""
