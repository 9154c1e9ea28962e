"""Where MySQL Router's plug-ins are, when it is not installed where it was built for."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

VARIABLE = "TIDEGATE_BENCH_ROUTER_PLUGINS"
_BUILT_FOR = re.compile(r"^Plugins Path:\n+ *(/\S+)", re.MULTILINE)
_NAMED = re.compile(r"/[^\s\"':]+/mysqlrouter\b")


def built_for(help_text: str) -> str:
    """Read where ``mysqlrouter --help`` says the plug-ins are; empty if it does not say."""
    found = _BUILT_FOR.search(help_text)
    return found[1] if found else ""


def _places(program: Path) -> Iterator[Path]:
    """Give the program, and the programs that it names if it is a script around them."""
    yield program.resolve()
    with program.open("rb") as file:
        if file.read(2) == b"#!":
            yield from map(Path, _NAMED.findall(program.read_text(errors="replace")))


def unpacked(program: Path, folder: str) -> str:
    """Find ``folder`` below a root that the program was unpacked to; empty if it is not there."""
    for place in _places(program):
        for root in place.parents:
            if (root / folder.lstrip("/")).is_dir():
                return str(root / folder.lstrip("/"))
    return ""


@functools.cache
def plugin_folder() -> str:
    """Return the folder that a Router has to be told; empty where it finds its plug-ins itself."""
    told = os.environ.get(VARIABLE, "")
    program = shutil.which("mysqlrouter")
    if told or program is None:
        return told
    help_text = subprocess.run([program, "--help"], capture_output=True, text=True).stdout
    folder = built_for(help_text)
    return "" if Path(folder or "/").is_dir() else unpacked(Path(program), folder)
