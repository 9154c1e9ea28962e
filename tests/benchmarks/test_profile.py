"""Reading strace's summary."""

from __future__ import annotations

from benchmarks.profile import syscalls

TABLE = """\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 60.00    0.600000          10     60000           write
 39.00    0.390000          10     40000       123 read
  1.00    0.010000          10      1000           epoll_pwait
------ ----------- ----------- --------- --------- ----------------
100.00    1.000000          10    101000       123 total
"""


def test_counts_calls_by_name() -> None:
    assert syscalls(TABLE) == {"write": 60000, "read": 40000, "epoll_pwait": 1000}
    assert syscalls("strace: attach: Operation not permitted\n") == {}
