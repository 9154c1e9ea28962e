"""What a comparison of PostgreSQL's peers needs ahead of them."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import database, peers
from tests.support.certificates import make_certificates

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.servers import PostgresServer


@contextlib.contextmanager
def stage(
    pool_size: int, *, client_tls: bool = False
) -> Iterator[tuple[PostgresServer, peers.Setup, Path]]:
    """Start a database; give it, what the peers are told, and a folder for their files."""
    with (
        database.database() as (server, _),
        tempfile.TemporaryDirectory(prefix="tgbench", dir="/tmp") as folder,
    ):
        # Peers that do not run as root read it, too.
        Path(folder).chmod(0o755)
        setup = peers.Setup(
            server_port=server.port,
            user=database.USER,
            password=database.PASSWORD,
            pool_size=pool_size,
            certificates=make_certificates(Path(folder) / "tls"),
            client_tls=client_tls,
        )
        yield server, setup, Path(folder)
