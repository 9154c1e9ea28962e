"""What the tests of the demonstration share: its packages, and one PostgreSQL of its own."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from proxy.demo.command import missing_packages
from tests.support.servers import STRICT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxy.demo.cluster import Cluster


@pytest.fixture(scope="session")
def demo_packages() -> None:
    """Skip, loudly, without the packages of the ``demo`` extra; fail in strict mode."""
    missing = missing_packages()
    if not missing:
        return
    reason = f"NO {' AND NO '.join(missing)}, NOT TESTED: pip install 'tidegate[demo]'"
    if STRICT:
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def demo_cluster(demo_packages: None) -> Iterator[Cluster]:
    """The demonstration's PostgreSQL with its tables; ``reset`` it before use."""
    from proxy.demo.cluster import Cluster

    with tempfile.TemporaryDirectory(prefix="tidegate-test-", dir="/tmp") as name:
        directory = Path(name)
        directory.chmod(0o711)
        cluster = Cluster(directory, superuser_password="super", password="secret")
        try:
            asyncio.run(cluster.start())
            yield cluster
        finally:
            asyncio.run(cluster.stop())
