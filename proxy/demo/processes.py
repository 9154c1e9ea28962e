"""The demonstration's child processes: started apart from the terminal, always stopped by us."""

from __future__ import annotations

import asyncio
import os
import pwd
import signal
import socket
import stat
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_POLL_S = 0.02


class DemoError(Exception):
    """The demonstration cannot go on; the message says why, in words for its user."""


@dataclass(frozen=True, slots=True)
class Account:
    """An operating system account to run a child as."""

    uid: int
    gid: int


def is_reachable_by_others(path: Path) -> bool:
    """Say whether any account may enter ``path`` and every directory above it."""
    return all(part.stat().st_mode & stat.S_IXOTH for part in (path, *path.parents))


def unprivileged_account() -> Account | None:
    """Return whom to run the server as, or ``None`` to run it as ourselves.

    Database servers refuse to run as root.
    """
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        return Account(65534, 65534)
    return Account(entry.pw_uid, entry.pw_gid)


def free_port() -> int:
    """Return a TCP port on 127.0.0.1 that nothing listens on at the moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def spawn(
    command: Sequence[str | Path],
    *,
    log: Path,
    environment: Mapping[str, str],
    directory: Path,
    account: Account | None = None,
) -> subprocess.Popen[bytes]:
    """Start a child whose output goes to ``log``.

    It gets a session of its own: Ctrl-C in the terminal reaches only us, so that we stop the
    children in the right order.
    """
    with log.open("ab") as output:
        return subprocess.Popen(  # noqa: S603 - fixed commands, no shell
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            cwd=directory,
            start_new_session=True,
            user=None if account is None else account.uid,
            group=None if account is None else account.gid,
            extra_groups=None if account is None else [],
        )


async def wait_exit(process: subprocess.Popen[bytes], timeout_s: float) -> int | None:
    """Wait until the child has ended; return its exit status, or ``None`` when time is up."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    while (status := process.poll()) is None:
        if asyncio.get_running_loop().time() >= deadline:
            return None
        await asyncio.sleep(_POLL_S)
    return status


async def stop(
    process: subprocess.Popen[bytes], signals: Sequence[signal.Signals], patience_s: float
) -> None:
    """Send the signals one after the other, ``patience_s`` apart, until the child has ended."""
    for number in (*signals, signal.SIGKILL):
        if process.poll() is not None:
            return
        process.send_signal(number)
        await wait_exit(process, patience_s)


def last_lines(log: Path, count: int = 12) -> str:
    """Return the end of a log, indented, for an error message."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    return "".join(f"\n    {line}" for line in lines[-count:])
