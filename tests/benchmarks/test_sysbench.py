"""Reading sysbench's output."""

from __future__ import annotations

import pytest

from benchmarks.mysql import loads
from benchmarks.sysbench import SysbenchFailed, percentile, read

OUTPUT = """\
Latency histogram (values are in milliseconds)
       value  ------------- distribution ------------- count
       0.100 |****************************************  90
       0.500 |***                                       9
       2.000 |                                          1

SQL statistics:
    transactions:                        100    (1000.00 per sec.)
"""


def test_reads_rate_and_histogram() -> None:
    sample = read(OUTPUT, 2.0, 0.1, 0.3)
    assert sample.transactions == 100
    # 0.1 s over the 2,000 transactions of two seconds.
    assert sample.cpu_us == pytest.approx(50)
    assert (sample.p50_us, sample.p99_us) == (100, 500)
    assert sample.p999_us == 2000


def test_no_result_is_a_failure() -> None:
    with pytest.raises(SysbenchFailed, match="FATAL"):
        read("FATAL: unable to connect", 1.0, 0.0, 0.0)


def test_percentile_of_nothing() -> None:
    assert percentile([], 0.5) == 0


def test_loads_have_titles_of_their_own() -> None:
    titles = [load.title for load in loads(quick=False, duration_s=3)]
    assert len(set(titles)) == len(titles)
