"""The relay part for MySQL: sysbench through MySQL Router and whoever else is found."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from benchmarks import sysbench
from benchmarks.peers import POOL_SIZE
from benchmarks.relay import Outcome, lineup, play
from benchmarks.stage import mysql_stage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks import peers


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
    with mysql_stage(POOL_SIZE) as stage:
        login = stage.login
        sysbench.prepare(login, stage.setup.server_port)
        with lineup(rivals, stage.setup, stage.folder, direct=True) as started:
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
