"""What is read from ``/proc``."""

from __future__ import annotations

import subprocess
import sys

import pytest

from benchmarks.accounting import (
    Usage,
    members,
    resident_bytes,
    resident_of,
    session_of,
    ticks_of,
    usage,
)

STAT = "42 (a) b (c) S 1 40 41 0 -1 0 0 0 0 0 7 8 1 2 20 0 1 0 100 0 0"


def test_reads_stat_with_brackets_in_the_name() -> None:
    assert session_of(STAT) == 41
    assert ticks_of(STAT) == (8, 10)


def test_reads_the_proportional_size() -> None:
    assert resident_of("55 rollup\nRss:  100 kB\nPss:   25 kB\nPss_Anon: 3 kB\n") == 25 * 1024
    assert resident_of("") == 0


def test_difference() -> None:
    assert Usage(3.0, 2.0, 1.0).since(Usage(1.0, 0.5, 0.5)) == Usage(2.0, 1.5, 0.5)


@pytest.mark.skipif(sys.platform != "linux", reason="NOT TESTED: no /proc")
def test_counts_children_and_memory() -> None:
    work = "import time\nwhile time.process_time() < .2: pass\nprint(flush=True)\ninput()"
    script = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {work!r}])"
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", script]
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, start_new_session=True)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        assert len(members(process.pid)) == 2
        assert usage(process.pid).cpu_s >= 0.2
        assert resident_bytes(process.pid) > 1_000_000
    finally:
        process.communicate(b"\n")
    assert members(process.pid) == []
