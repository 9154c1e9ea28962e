"""The relay part for MySQL: sysbench through MySQL Router and whoever else is found."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import peers, sysbench
from benchmarks.relay import POOL_SIZE, Outcome, lineup, play
from tests.support.certificates import make_certificates
from tests.support.local_mysql import MYSQL
from tests.support.mysql_servers import own_mysql

if TYPE_CHECKING:
    from collections.abc import Sequence

USER = "app"


def loads(*, quick: bool, duration_s: int) -> list[sysbench.MysqlLoad]:
    """Return what is run."""
    scripts = ("oltp_point_select",) if quick else ("oltp_point_select", "oltp_read_write")
    crowds = (16,) if quick else (1, 16, 64)
    return [
        sysbench.MysqlLoad(script=script, prepared=prepared, clients=n, duration_s=duration_s)
        for script in scripts
        for prepared in (False, True)
        for n in crowds
    ]


def measure(
    chosen: Sequence[sysbench.MysqlLoad], rivals: Sequence[peers.Peer], rounds: int
) -> list[Outcome]:
    """Run the loads through every peer in turns. Raises ``NoServer``."""
    with (
        own_mysql(MYSQL, {"max-connections": "800"}) as server,
        tempfile.TemporaryDirectory(prefix="tgbench", dir="/tmp") as folder,
    ):
        Path(folder).chmod(0o755)
        login = sysbench.Login(user=USER, password=server.password(USER), database=USER)
        sysbench.prepare(login, server.port)
        setup = peers.Setup(
            server_port=server.port,
            user=USER,
            password=login.password,
            pool_size=POOL_SIZE,
            certificates=make_certificates(Path(folder) / "tls"),
        )
        with lineup(rivals, setup, Path(folder), direct=True) as started:
            return [
                play(
                    load.title,
                    started,
                    functools.partial(sysbench.run, load, login),
                    rounds,
                    goal=load.goal,
                )
                for load in chosen
            ]
