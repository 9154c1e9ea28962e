"""What the tests of the demonstration share: its packages, and servers of its own."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from proxy.demo.command import missing_packages
from proxy.demo.engine import ENGINES, POSTGRESQL, choose
from tests.support.local_mysql import MARIADB, MYSQL, find_program
from tests.support.local_postgres import NoServer
from tests.support.servers import STRICT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from proxy.demo.engine import Cluster, Engine


@pytest.fixture(scope="session")
def demo_packages() -> None:
    """Skip, loudly, without the packages of the ``demo`` extra; fail in strict mode."""
    missing = [name for engine in ENGINES for name in missing_packages(engine)]
    if not missing:
        return
    reason = f"NO {' AND NO '.join(missing)}, NOT TESTED: pip install 'tidegate[demo]'"
    if STRICT:
        pytest.fail(reason)
    pytest.skip(reason)


@dataclass(frozen=True, slots=True)
class Scene:
    """A running server of the demonstration's, and its engine."""

    engine: Engine
    cluster: Cluster


def mysql_folder(kind: str) -> str:
    """Give the folder of a kind's programs; without one skip loudly, in strict mode fail."""
    try:
        return str(find_program(kind).parent)
    except NoServer as error:
        if STRICT:
            pytest.fail(str(error))
        pytest.skip(f"NO {kind} SERVER, NOT TESTED: {error}")


@contextlib.contextmanager
def running_scene(engine: Engine) -> Iterator[Scene]:
    """Start an engine's server in a folder that is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="tidegate-test-", dir="/tmp") as name:
        directory = Path(name)
        directory.chmod(0o711)
        cluster = engine.cluster(directory, superuser_password="super", password="secret")
        try:
            asyncio.run(cluster.start())
            yield Scene(engine, cluster)
        finally:
            asyncio.run(cluster.stop())


@pytest.fixture(scope="session")
def _scenes(demo_packages: None) -> Iterator[Callable[[str], Scene]]:
    """Start each server at its first use, and stop all at the end."""
    with contextlib.ExitStack() as stack:

        @functools.cache
        def scene_of(kind: str) -> Scene:
            if kind == POSTGRESQL:
                return stack.enter_context(running_scene(choose(POSTGRESQL)))
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("TIDEGATE_DEMO_MYSQL_BIN", mysql_folder(kind))
                return stack.enter_context(running_scene(choose("mysql")))

        yield scene_of


@pytest.fixture(params=[POSTGRESQL, MYSQL, MARIADB])
def scene(_scenes: Callable[[str], Scene], request: pytest.FixtureRequest) -> Scene:
    """Every server that the demonstration can have, with its tables; ``reset`` it before use."""
    return _scenes(request.param)


@pytest.fixture
def postgres_scene(_scenes: Callable[[str], Scene]) -> Scene:
    """The PostgreSQL among them."""
    return _scenes(POSTGRESQL)


@pytest.fixture(params=[MYSQL, MARIADB])
def mysql_scene(_scenes: Callable[[str], Scene], request: pytest.FixtureRequest) -> Scene:
    """The MySQL and the MariaDB among them."""
    return _scenes(request.param)
