"""Compiles the hot path when a wheel is built, where there is a compiler; goes on without."""

from __future__ import annotations

import os
from typing import Any

from hatch_mypyc.plugin import MypycBuildHook

COMPILER_FLAGS = "-fvisibility=hidden -fno-semantic-interposition -fno-plt"
"""Lets the compiler join functions that only their own shared library calls: a tenth of the time of
a transaction (``python -m benchmarks scanners``)."""


class CompileHook(MypycBuildHook):  # type: ignore[misc]
    """hatch-mypyc, except that a failure costs speed and not the installation.

    ``TIDEGATE_REQUIRE_COMPILED=1`` makes it an error. An editable installation is never compiled:
    the sources are there to be edited, and what is compiled would hide them.
    """

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile."""
        if version == "editable":
            return
        os.environ["CFLAGS"] = f"{COMPILER_FLAGS} {os.environ.get('CFLAGS', '')}".rstrip()
        try:
            super().initialize(version, build_data)
        except Exception as error:
            if os.environ.get("TIDEGATE_REQUIRE_COMPILED") == "1":
                raise
            self.app.display_warning(f"the hot path is not compiled: {error}")

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Take what was compiled out of the source tree, where it would hide later edits."""
        self.clean([version])


def get_build_hook() -> type[CompileHook]:
    """Tell Hatchling which of the hooks it sees here is meant."""
    return CompileHook
