"""The command line of ``tidegate demo``."""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from proxy.demo.engine import ENGINES, REQUIRED, choose

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_ENVIRONMENTS = 2000
MAX_SECONDS = 60.0


def _environments(text: str) -> int:
    value = int(text)
    if not 1 <= value <= MAX_ENVIRONMENTS:
        raise argparse.ArgumentTypeError(f"must be between 1 and {MAX_ENVIRONMENTS}")
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not 1 <= value <= MAX_SECONDS:
        raise argparse.ArgumentTypeError(f"must be between 1 and {MAX_SECONDS:g}")
    return value


def parser() -> argparse.ArgumentParser:
    """Return the parser of the demonstration's arguments."""
    result = argparse.ArgumentParser(
        prog="tidegate demo",
        description="Start a database server and a proxy of their own on loopback, send them a"
        " burst of Lambda-like clients, and show what the proxy makes of it. Leaves nothing"
        " behind.",
        epilog="Exit code: 0; 1 when the burst through the proxy had errors or the demonstration"
        " could not run; 2 for bad arguments. Stopping it with Ctrl-C or SIGTERM is no error.",
    )
    result.add_argument(
        "--engine",
        choices=ENGINES,
        default=ENGINES[0],
        help="database to show it with (default %(default)s); mysql starts a MySQL or MariaDB of"
        " this machine, found in PATH, /usr/sbin or the folder that TIDEGATE_DEMO_MYSQL_BIN names,"
        " else one in Docker",
    )
    result.add_argument(
        "--environments",
        type=_environments,
        default=400,
        metavar="N",
        help=f"Lambda environments at a time, 1 to {MAX_ENVIRONMENTS} (default %(default)s)",
    )
    result.add_argument(
        "--seconds",
        type=_seconds,
        default=8.0,
        metavar="S",
        help=f"length of each of the two bursts, 1 to {MAX_SECONDS:g} (default %(default)g)",
    )
    result.add_argument(
        "--plain", action="store_true", help="a line of text each second instead of a live view"
    )
    return result


def missing_packages(
    engine: str, find: Callable[[str], object | None] = importlib.util.find_spec
) -> list[str]:
    """Return the distributions that this engine needs and this Python does not have."""
    return [name for module, name in REQUIRED[engine].items() if find(module) is None]


def _raise_file_limit(needed: int) -> None:
    """Ask for enough file descriptors; children inherit the limit."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def _run_until_stopped(arguments: argparse.Namespace) -> int:
    from proxy.demo.stage import run, say

    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    stopped = False

    def stop() -> None:
        nonlocal stopped
        # Once only: a second Ctrl-C must not cut the cleaning up short.
        if task is not None and not stopped:
            stopped = True
            say("\nStopping ...")
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop)
    try:
        return await run(
            choose(arguments.engine),
            arguments.environments,
            arguments.seconds,
            plain=arguments.plain,
        )
    except asyncio.CancelledError:
        if not stopped:
            raise
        return 0


def main(argv: list[str]) -> int:
    """Run ``tidegate demo`` with its arguments; return the exit code."""
    arguments = parser().parse_args(argv)
    missing = missing_packages(arguments.engine)
    if missing:
        print(
            f"tidegate demo needs {' and '.join(missing)}: pip install 'tidegate[demo]'",
            file=sys.stderr,
        )
        return 1
    from proxy.demo.processes import DemoError

    _raise_file_limit(arguments.environments + 256)
    try:
        import uvloop
    except ImportError:
        factory = None
    else:
        factory = uvloop.new_event_loop
    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(_run_until_stopped(arguments))
    except DemoError as error:
        print(f"tidegate demo: {error}", file=sys.stderr)
        return 1
