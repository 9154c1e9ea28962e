"""What processes have used, read from ``/proc`` (Linux)."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

_TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU used so far by a group of processes."""

    cpu_s: float
    """Seconds on a CPU, to the nanosecond: the scheduler's own count over all threads."""
    user_s: float
    """Of those, in user space; counted in ticks of 10 ms or so, so only good as a share."""
    system_s: float
    """Of those, in the kernel; likewise."""

    def since(self, earlier: Usage) -> Usage:
        """Return what was used after ``earlier``."""
        return Usage(
            self.cpu_s - earlier.cpu_s,
            self.user_s - earlier.user_s,
            self.system_s - earlier.system_s,
        )


def session_of(stat: str) -> int:
    """Read the session from ``/proc/PID/stat``, whose second field may hold spaces and brackets."""
    return int(stat.rpartition(")")[2].split()[3])


def ticks_of(stat: str) -> tuple[int, int]:
    """Read user and system ticks from ``/proc/PID/stat``, ended and waited-for children's too."""
    fields = stat.rpartition(")")[2].split()
    user, system, children_user, children_system = map(int, fields[11:15])
    return user + children_user, system + children_system


def resident_of(rollup: str) -> int:
    """Read a process's own bytes from ``/proc/PID/smaps_rollup``: its share of what is shared."""
    for line in rollup.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def members(session: int) -> list[int]:
    """List the processes of a session: a program started with one of its own, and its children."""
    found = []
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if session_of((entry / "stat").read_text()) == session:
                    found.append(int(entry.name))
    return found


def usage(session: int) -> Usage:
    """Return what the processes of a session have used."""
    nanoseconds = user = system = 0
    for pid in members(session):
        with contextlib.suppress(OSError):
            mine = ticks_of((_PROC / str(pid) / "stat").read_text())
            user, system = user + mine[0], system + mine[1]
            for task in (_PROC / str(pid) / "task").iterdir():
                nanoseconds += int((task / "schedstat").read_text().split()[0])
    return Usage(nanoseconds / 1e9, user * _TICK_S, system * _TICK_S)


def resident_bytes(session: int) -> int:
    """Return the memory of the processes of a session; shared pages count once."""
    total = 0
    for pid in members(session):
        with contextlib.suppress(OSError):
            total += resident_of((_PROC / str(pid) / "smaps_rollup").read_text())
    return total
