"""The configuration file of a running process: notices changes and says what they change."""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import TYPE_CHECKING, Final

from proxy.config.diff import applied, compare
from proxy.config.load import load
from proxy.errors import ConfigError
from proxy.net import logs

if TYPE_CHECKING:
    from pathlib import Path

    from proxy.config.model import Config

log = logging.getLogger("tidegate")

LOOK_S: Final = 1.0
"""Seconds between looks at the configuration and certificate files."""


class Reloader:
    """Reads the file again when it has changed or somebody asks."""

    def __init__(self, config: Config, path: Path) -> None:
        self.config = config
        """What the process runs with: of a changed file, what needs no restart."""
        self._path = path
        self._stamp = _stamp(path)
        self._asked = False
        self._looked = monotonic()

    def ask(self) -> None:
        """Read the file at the next look, changed or not."""
        self._asked = True

    def is_due(self, now: float) -> bool:
        """Whether it is time to look."""
        if not self._asked and now - self._looked < LOOK_S:
            return False
        self._looked = now
        return True

    async def look(self) -> int | None:
        """Read the file if need be; how many settings differ, ``None`` if there is nothing new."""
        stamp = _stamp(self._path)
        if not self._asked and stamp == self._stamp:
            return None
        self._asked = False
        self._stamp = stamp
        try:
            new = await asyncio.to_thread(load, self._path)
        except ConfigError as error:
            logs.event(log, logging.ERROR, "reload_failed", error=str(error))
            return None
        return self.apply(new)

    def apply(self, new: Config) -> int:
        """Take over what can be applied to a running process, and say what cannot."""
        changes = compare(self.config, new)
        for change in changes:
            level = logging.INFO if change.live else logging.WARNING
            outcome = "applied" if change.live else "needs a restart"
            logs.event(log, level, "setting_changed", key=change.path, outcome=outcome)
        self.config = applied(self.config, new)
        return len(changes)


def configure_logs(config: Config) -> None:
    """Give the log the format and the detail that a configuration asks for."""
    debug = any(proxy.debug_logging for proxy in config.proxy.values())
    logs.configure(config.process.log_format, debug=debug)


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        status = path.stat()
    except OSError:
        return (0, 0, 0)
    return (status.st_mtime_ns, status.st_ino, status.st_size)
