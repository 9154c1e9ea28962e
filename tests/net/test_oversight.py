from __future__ import annotations

import pytest

from proxy.net.oversight import Oversight


@pytest.mark.parametrize("processes", [1, 2, 3, 4])
def test_shares_cover_the_whole(processes: int) -> None:
    oversight = Oversight()
    oversight.processes = processes
    for total in (0, 1, 5, 100):
        share = oversight.share(total)
        assert total <= share * processes < total + processes
